// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

const body = `{"task_id":"550e8400","status":"finished"}`

func TestVerify(t *testing.T) {
	const other, encoded = "another-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	tests := map[string]struct {
		secrets []string
		message message
		change  func(h http.Header)
		body    string // as received; as sent if it is empty
		want    error
	}{
		"genuine":                {message: genuine("", "id-1", body)},
		"old secret in rotation": {secrets: []string{secret, other}, message: genuine("", "id-1", body)},
		"new secret in rotation": {secrets: []string{other, secret}, message: genuine("", "id-1", body)},
		"signed with the old one": {
			secrets: []string{secret, other}, message: message{id: "1", secret: other, signedWith: secret},
		},
		"key in base64": {
			secrets: []string{encoded}, message: message{id: "1", secret: encoded, signedWith: encoded},
		},
		"one of two signatures": {
			message: genuine("", "id-1", body),
			change: func(h http.Header) {
				h.Set("webhook-signature", "v1,b3RoZXI= "+h.Get("webhook-signature"))
			},
		},
		"missing secret": {message: message{id: "id-1", body: body, signedWith: secret}, want: ErrSecretMissing},
		"wrong secret": {
			message: message{id: "id-1", body: body, secret: other, signedWith: secret}, want: ErrSecretWrong,
		},
		"start of the secret": {
			message: message{id: "id-1", body: body, secret: secret[:5], signedWith: secret}, want: ErrSecretWrong,
		},
		"more than the secret": {
			message: message{id: "id-1", body: body, secret: secret + "4", signedWith: secret}, want: ErrSecretWrong,
		},
		"missing signature": {
			message: message{id: "id-1", body: body, secret: secret}, want: standardwebhooks.ErrRequiredHeaders,
		},
		"wrong signature": {
			message: message{id: "id-1", body: body, secret: secret, signedWith: other},
			want:    standardwebhooks.ErrNoMatchingSignature,
		},
		"tampered body": {
			message: genuine("", "id-1", body), body: `{"task_id":"550e8400","status":"failed"}`,
			want: standardwebhooks.ErrNoMatchingSignature,
		},
		"marshalled again": {
			message: genuine("", "id-1", body), body: `{"task_id": "550e8400", "status": "finished"}`,
			want: standardwebhooks.ErrNoMatchingSignature,
		},
		"replayed under another id": {
			message: genuine("", "id-1", body), change: func(h http.Header) { h.Set("webhook-id", "id-2") },
			want: standardwebhooks.ErrNoMatchingSignature,
		},
		"replayed with a new timestamp": {
			message: message{id: "id-1", body: body, secret: secret, signedWith: secret, signedAt: epoch.Add(-time.Hour)},
			change:  func(h http.Header) { h.Set("webhook-timestamp", fmt.Sprint(epoch.Unix())) },
			want:    standardwebhooks.ErrNoMatchingSignature,
		},
		"exactly five minutes old": {
			message: message{id: "id-1", secret: secret, signedWith: secret, signedAt: epoch.Add(-5 * time.Minute)},
		},
		"replayed after five minutes": {
			message: message{id: "id-1", secret: secret, signedWith: secret, signedAt: epoch.Add(-5*time.Minute - time.Second)},
			want:    standardwebhooks.ErrMessageTooOld,
		},
		"from the future": {
			message: message{id: "id-1", secret: secret, signedWith: secret, signedAt: epoch.Add(5*time.Minute + time.Second)},
			want:    standardwebhooks.ErrMessageTooNew,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) { // where it is exactly epoch
				if tc.secrets == nil {
					tc.secrets = []string{secret}
				}
				verifier, err := NewVerifier(tc.secrets...)
				if err != nil {
					t.Fatal(err)
				}
				header := tc.message.header(t)
				if tc.change != nil {
					tc.change(header)
				}
				received := tc.message.body
				if tc.body != "" {
					received = tc.body
				}
				if got := verifier.Verify(header, []byte(received)); !errors.Is(got, tc.want) {
					t.Errorf("Verify: %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// epoch is when time begins in a bubble.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// The bytes of a secret without whsec_ are the key, by an HMAC of this test's own.
func TestVerifyRawKey(t *testing.T) {
	now := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "id-1.%s.%s", now, body)
	header := http.Header{}
	header.Set("x-webhook-secret", secret)
	header.Set("webhook-id", "id-1")
	header.Set("webhook-timestamp", now)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	verifier, err := NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(header, []byte(body)); err != nil {
		t.Error(err)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	for name, secrets := range map[string][]string{
		"none":        nil,
		"empty":       {secret, ""},
		"not base64":  {"whsec_%%%"},
		"only prefix": {"whsec_"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewVerifier(secrets...); err == nil {
				t.Errorf("NewVerifier(%q) accepts", secrets)
			}
		})
	}
}
