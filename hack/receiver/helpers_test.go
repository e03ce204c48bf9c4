// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/webhookdelivery/operator/hack/receiver/pipenet"
)

const secret = "my-secret-123"

// message is what a sender sends. The zero value of each field is left out of the request.
type message struct {
	path, id, body string
	secret         string    // the x-webhook-secret header
	signedWith     string    // the key of the signature
	signedAt       time.Time // now if it is zero
}

// genuine is a message of a sender who knows the secret.
func genuine(path, id, body string) message {
	return message{path: path, id: id, body: body, secret: secret, signedWith: secret}
}

func (m message) header(t testing.TB) http.Header {
	t.Helper()
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("webhook-id", m.id)
	set("x-webhook-secret", m.secret)
	if m.signedWith == "" {
		return h
	}
	key, err := signingKey(m.signedWith)
	if err != nil {
		t.Fatal(err)
	}
	at := m.signedAt
	if at.IsZero() {
		at = time.Now()
	}
	signature, err := key.Sign(m.id, at, []byte(m.body))
	if err != nil {
		t.Fatal(err)
	}
	set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	set(standardwebhooks.HeaderWebhookSignature, signature)
	return h
}

// client posts messages to one receiver and follows no redirect.
type client struct {
	http *http.Client
	url  string
}

// post returns the response, whose body has been read.
func (c client) post(ctx context.Context, t testing.TB, m message) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+m.path, bytes.NewReader([]byte(m.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = m.header(t)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	return resp, resp.Body.Close()
}

// status posts a message that must be answered, and returns the status.
func (c client) status(t testing.TB, m message) int {
	t.Helper()
	resp, err := c.post(t.Context(), t, m)
	if err != nil {
		t.Fatalf("post to %s: %v", m.path, err)
	}
	return resp.StatusCode
}

func newClient(t testing.TB, url string, transport *http.Transport) client {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	return client{url: url, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// inMemory makes a receiver that can be used in virtual time, and a client of it.
func inMemory(t testing.TB, o Options) (*Server, client) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	// net/http lingers for half a second, which is virtual here, on a connection whose request it has not read.
	t.Cleanup(func() { time.Sleep(time.Second) })
	closeAtEnd(t, s)
	l := pipenet.Listen()
	go func() {
		if err := s.Serve(l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	transport := &http.Transport{DialContext: l.DialContext}
	if o.Plain {
		return s, newClient(t, "http://hook.receiver.test", transport)
	}
	transport.TLSClientConfig = trusting(t, s.CA())
	return s, newClient(t, "https://hook.receiver.test", transport)
}

// onLoopback starts a receiver on a socket, and makes a client of it.
func onLoopback(t testing.TB, o Options) (*Server, client) {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	if !o.Plain {
		transport.TLSClientConfig = trusting(t, s.CA())
	}
	return s, newClient(t, s.URL(), transport)
}

func closeAtEnd(t testing.TB, s *Server) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// trusting returns the configuration of a client that trusts the authority in PEM and no other.
func trusting(t testing.TB, ca []byte) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the receiver's authority is not PEM")
	}
	return &tls.Config{RootCAs: pool}
}

// waitFor waits until the totals of the account fulfil done.
func waitFor(t testing.TB, s *Server, done func(Snapshot) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Wait(ctx, done); err != nil {
		t.Fatal(err)
	}
}
