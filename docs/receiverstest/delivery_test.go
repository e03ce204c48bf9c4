// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiverstest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

const (
	secret = "my secret, größer als 1"
	id     = "3c2f6d1e-8f6b-4e0e-9a53-0d1f6f2f9f5e"
	body   = `{"percentage":"100","prompt":"größer \u003c 1, \\ and 'quoted'\n","status":"finished",` +
		`"task_id":"../550e8400"}`
)

// newSender returns the operator's sender.
func newSender(t *testing.T) *sender.Sender {
	t.Helper()
	s, err := sender.New(sender.Config{
		RequestTimeout: time.Minute, // not the 10 s of production: the machine may be busy
		UserAgent:      "webhook-delivery-operator/test",
		AllowHTTP:      true,
		AllowCIDRs:     []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// request is one that a receiver gets.
type request struct {
	header http.Header
	body   string
}

// capture returns the request that the operator's sender makes.
func capture(t *testing.T, r sender.Request) request {
	t.Helper()
	var got request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = request{r.Header, string(raw)}
	}))
	defer server.Close()
	r.URL = server.URL + "/webhook"
	if result := newSender(t).Send(t.Context(), r); result.Class != sender.Delivered {
		t.Fatalf("%s: %s", result.Class, result.Message)
	}
	return got
}

// signed replaces the time and the signature.
func (r *request) signed(t *testing.T, key string, at time.Time) {
	t.Helper()
	webhook, err := standardwebhooks.NewWebhookRaw([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := webhook.Sign(r.header.Get("webhook-id"), at, []byte(r.body))
	if err != nil {
		t.Fatal(err)
	}
	r.header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.header.Set("webhook-signature", signature)
}

// send returns the status of the answer.
func (r *request) send(t *testing.T, url string) int {
	t.Helper()
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewBufferString(r.body))
	if err != nil {
		t.Fatal(err)
	}
	post.Header = r.header
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// forgeries are changes to a genuine request. Those that are not refused show that the others are refused for what they
// say, and not for how they are made.
func forgeries(t *testing.T) map[string]struct {
	change  func(*request)
	accepts bool
} {
	set := func(name, value string) func(*request) {
		return func(r *request) { r.header.Set(name, value) }
	}
	signature := func(change func(string) string) func(*request) {
		return func(r *request) {
			r.header.Set("webhook-signature", change(r.header.Get("webhook-signature")))
		}
	}
	signed := func(key string, after time.Duration) func(*request) {
		return func(r *request) { r.signed(t, key, time.Now().Add(after)) }
	}
	const other = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
	return map[string]struct {
		change  func(*request)
		accepts bool
	}{
		"as it was sent":      {func(*request) {}, true},
		"signed again":        {signed(secret, 0), true},
		"4 minutes old":       {signed(secret, -4*time.Minute), true},
		"4 minutes early":     {signed(secret, 4*time.Minute), true},
		"first of signatures": {signature(func(s string) string { return s + " " + other }), true},
		"last of signatures":  {signature(func(s string) string { return "v1a,AAAA " + other + " " + s }), true},

		"6 minutes old":        {signed(secret, -6*time.Minute), false},
		"6 minutes early":      {signed(secret, 6*time.Minute), false},
		"tampered body":        {func(r *request) { r.body = strings.Replace(r.body, "finished", "failed", 1) }, false},
		"longer body":          {func(r *request) { r.body += " " }, false},
		"no body":              {func(r *request) { r.body = "" }, false},
		"wrong secret":         {set("x-webhook-secret", "another"), false},
		"half a secret":        {set("x-webhook-secret", secret[:8]), false},
		"no secret":            {func(r *request) { r.header.Del("x-webhook-secret") }, false},
		"signed by another":    {signed("another", 0), false},
		"signed by nothing":    {signed("", 0), false},
		"another's signature":  {set("webhook-signature", other), false},
		"half a signature":     {signature(func(s string) string { return s[:20] }), false},
		"empty signature":      {set("webhook-signature", "v1,"), false},
		"signature, no scheme": {signature(func(s string) string { return s[3:] }), false},
		"another scheme":       {signature(func(s string) string { return "v2" + s[2:] }), false},
		"not ASCII":            {set("webhook-signature", "v1,größer"), false},
		"no signature":         {func(r *request) { r.header.Del("webhook-signature") }, false},
		"another id":           {set("webhook-id", "3c2f6d1e-8f6b-4e0e-9a53-0d1f6f2f9f5f"), false},
		"no id":                {func(r *request) { r.header.Del("webhook-id") }, false},
		"another time":         {set("webhook-timestamp", strconv.FormatInt(time.Now().Unix()-60, 10)), false},
		"no time":              {func(r *request) { r.header.Del("webhook-timestamp") }, false},
		"not a time":           {set("webhook-timestamp", "now"), false},
		"a huge time":          {set("webhook-timestamp", strings.Repeat("9", 6000)), false},
		"nothing":              {func(r *request) { r.header = http.Header{} }, false},
	}
}
