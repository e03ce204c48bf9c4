// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestSetHeaders(t *testing.T) {
	key := []byte("0123456789abcdef01234567")
	encoded := "whsec_" + base64.StdEncoding.EncodeToString(key)
	tests := map[string]struct {
		secret, previous []byte
		wantSecret       string
		wantKeys         []string // each of which verifies one of the signatures
	}{
		"no secret":              {},
		"no secret, but one was": {previous: []byte("old")},
		"plain":                  {secret: []byte("abc"), wantSecret: "abc", wantKeys: []string{"abc"}},
		"newline":                {secret: []byte("abc\n"), wantSecret: "abc", wantKeys: []string{"abc"}},
		"carriage return":        {secret: []byte("abc\r\n"), wantSecret: "abc", wantKeys: []string{"abc"}},
		"whsec_":                 {secret: []byte(encoded), wantSecret: encoded, wantKeys: []string{string(key)}},
		"whsec_ with newline":    {secret: []byte(encoded + "\n"), wantSecret: encoded, wantKeys: []string{string(key)}},
		"whsec_, not base64":     {secret: []byte("whsec_!"), wantSecret: "whsec_!", wantKeys: []string{"whsec_!"}},
		"whsec_ of nothing":      {secret: []byte("whsec_"), wantSecret: "whsec_", wantKeys: []string{"whsec_"}},
		"base64 without prefix": {
			secret: []byte("YWJj"), wantSecret: "YWJj", wantKeys: []string{"YWJj"},
		},
		"rotation": {
			secret: []byte("new"), previous: []byte("old\n"), wantSecret: "new", wantKeys: []string{"new", "old"},
		},
		"rotation of kinds": {
			secret: []byte("new"), previous: []byte(encoded), wantSecret: "new", wantKeys: []string{"new", string(key)},
		},
		"rotation to the same": {
			secret: []byte("abc"), previous: []byte("abc\n"), wantSecret: "abc", wantKeys: []string{"abc"},
		},
		"previous not usable as a header": {
			secret: []byte("new"), previous: []byte("old\x00"), wantSecret: "new", wantKeys: []string{"new", "old\x00"},
		},
		"previous empty": {secret: []byte("new"), previous: []byte("\n"), wantSecret: "new", wantKeys: []string{"new"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			header := http.Header{}
			request := &Request{ID: "id-1", Body: []byte(`{"a":1}`), Secret: tt.secret, Previous: tt.previous}
			if err := setHeaders(header, request, now); err != nil {
				t.Fatal(err)
			}
			if got := header.Get("x-webhook-secret"); got != tt.wantSecret {
				t.Errorf("x-webhook-secret %q, want %q", got, tt.wantSecret)
			}
			if header.Get("webhook-id") != "id-1" || header.Get("webhook-timestamp") == "" {
				t.Errorf("headers %v", header)
			}
			signatures := strings.Fields(header.Get("webhook-signature"))
			if len(signatures) != len(tt.wantKeys) {
				t.Fatalf("signatures %q for %d keys", signatures, len(tt.wantKeys))
			}
			for i, key := range tt.wantKeys {
				alone := header.Clone()
				alone.Set("webhook-signature", signatures[i])
				expectVerified(t, key, request.Body, alone)
				expectVerified(t, key, request.Body, header)
			}
		})
	}
}

// expectVerified uses the official library, as a receiver does.
func expectVerified(t *testing.T, key string, body []byte, header http.Header) {
	t.Helper()
	if err := must(standardwebhooks.NewWebhookRaw([]byte(key))).Verify(body, header); err != nil {
		t.Errorf("key %q: %v", key, err)
	}
}

func TestCheckSecret(t *testing.T) {
	tests := map[string]struct {
		secret []byte
		want   bool // usable
	}{
		"none":               {nil, true},
		"plain":              {[]byte("abc"), true},
		"newline":            {[]byte("abc\n"), true},
		"carriage return":    {[]byte("abc\r\n"), true},
		"space inside":       {[]byte("a b\tc"), true},
		"not ASCII":          {[]byte("pässwörd"), true},
		"longest":            {[]byte(strings.Repeat("x", 4096) + "\n"), true},
		"too long":           {[]byte(strings.Repeat("x", 4097)), false},
		"empty":              {[]byte{}, false},
		"only a newline":     {[]byte("\n"), false},
		"two newlines":       {[]byte("abc\n\n"), false},
		"newline inside":     {[]byte("a\nb"), false},
		"bare return":        {[]byte("abc\r"), false},
		"NUL":                {[]byte("a\x00"), false},
		"DEL":                {[]byte("a\x7f"), false},
		"leading space":      {[]byte(" abc"), false},
		"trailing space":     {[]byte("abc "), false},
		"space and newline":  {[]byte("abc \n"), false},
		"trailing tab":       {[]byte("abc\t"), false},
		"header injection":   {[]byte("a\r\nx-admin: 1"), false},
		"response splitting": {[]byte("a\r\n\r\nPOST / HTTP/1.1"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			message := checkSecret(tt.secret)
			if (message == "") != tt.want {
				t.Errorf("checkSecret(%q) = %q, want usable %t", tt.secret, message, tt.want)
			}
			if len(tt.secret) > 2 && strings.Contains(message, string(tt.secret)) {
				t.Errorf("%q shows the secret", message)
			}
		})
	}
}

// FuzzHeaderValue checks that a secret which is accepted arrives byte for byte, in a request without further headers.
func FuzzHeaderValue(f *testing.F) {
	for _, secret := range []string{
		"abc", "abc\n", "abc\r\n", " abc", "a\nb", "a\x00", "pässwörd", "\xff\xfe", "a\r\nx: y", "whsec_YWJj",
		"whsec_", "", "\t",
	} {
		f.Add([]byte(secret), []byte("old"))
	}
	f.Fuzz(func(t *testing.T, secret, previous []byte) {
		if secret == nil {
			secret = []byte{}
		}
		if checkSecret(secret) != "" {
			return
		}
		request := &Request{ID: "1", URL: "https://receiver.example/", Body: []byte("{}"), Secret: secret, Previous: previous}
		post, err := http.NewRequest(http.MethodPost, request.URL, bytes.NewReader(request.Body))
		if err != nil {
			t.Fatal(err)
		}
		if err := setHeaders(post.Header, request, testTime); err != nil {
			t.Fatal(err)
		}
		var wire bytes.Buffer
		if err := post.Write(&wire); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("secret %q: %v", secret, err)
		}
		want := post.Header.Clone()
		want.Set("Content-Length", "2")
		want.Set("User-Agent", "Go-http-client/1.1")
		if diff := cmp.Diff(want, got.Header); diff != "" {
			t.Errorf("secret %q: (-want +got)\n%s", secret, diff)
		}
		if sent := got.Header.Get("x-webhook-secret"); sent+"\n" != string(secret) && sent+"\r\n" != string(secret) &&
			sent != string(secret) {
			t.Errorf("secret %q arrives as %q", secret, sent)
		}
		if want := strings.Fields(got.Header.Get("webhook-signature")); len(want) < 1 || len(want) > 2 {
			t.Errorf("secret %q: signatures %q", secret, want)
		}
	})
}
