// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// capture answers every request with noContent and passes it on.
func capture(requests chan<- *http.Request) func(net.Conn) {
	return func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		for request := readRequest(reader); request != nil; request = readRequest(reader) {
			requests <- request
			if _, err := io.WriteString(conn, noContent); err != nil {
				return
			}
		}
	}
}

// TestSendRequest looks at a request from the receiver's side of a TLS connection.
func TestSendRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	r := listen(t, "127.0.0.1:0", testCA().server(), capture(requests))
	s := newSender(t, nil)
	body := `{"big":12345678901234567890,"z":1,"a":2, "b": "é"}`
	result := s.Send(t.Context(), Request{
		ID: "550e8400-e29b-41d4-a716-446655440000", URL: r.url, Body: []byte(body),
		Secret: []byte(testSecret + "\n"), Previous: []byte("before"),
	})
	if result.Class != Delivered || result.StatusCode != 204 || result.Message != "204 No Content" {
		t.Fatalf("%+v", result)
	}
	got := <-requests
	signature, timestamp := got.Header.Get("Webhook-Signature"), got.Header.Get("Webhook-Timestamp")
	want := http.Header{
		"Content-Length":    {strconv.Itoa(len(body))},
		"Content-Type":      {"application/json"},
		"User-Agent":        {"test/1"},
		"Webhook-Id":        {"550e8400-e29b-41d4-a716-446655440000"},
		"Webhook-Signature": {signature},
		"Webhook-Timestamp": {strconv.FormatInt(result.Start.Unix(), 10)},
		"X-Webhook-Secret":  {testSecret},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if got.Method != http.MethodPost || got.RequestURI != "/hook?token=q" || got.Host != r.addr ||
		got.Proto != "HTTP/1.1" {
		t.Errorf("%s %s %s to %s", got.Method, got.RequestURI, got.Proto, got.Host)
	}
	received := must(io.ReadAll(got.Body))
	if string(received) != body {
		t.Errorf("body %s, want %s", received, body)
	}
	expectVerified(t, testSecret, received, got.Header)
	expectVerified(t, "before", received, got.Header)
	if strings.Count(signature, "v1,") != 2 || timestamp == "" {
		t.Errorf("signature %q", signature)
	}
}

// TestSendWithoutSecret sends neither the secret nor a signature.
func TestSendWithoutSecret(t *testing.T) {
	requests := make(chan *http.Request, 1)
	r := listen(t, "127.0.0.1:0", testCA().server(), capture(requests))
	s := newSender(t, nil)
	if result := s.Send(t.Context(), Request{ID: "1", URL: r.url, Body: []byte("{}")}); result.Class != Delivered {
		t.Fatalf("%+v", result)
	}
	header := (<-requests).Header
	for _, name := range []string{"X-Webhook-Secret", "Webhook-Signature"} {
		if _, ok := header[name]; ok {
			t.Errorf("%s is sent", name)
		}
	}
	if header.Get("Webhook-Id") != "1" || header.Get("Webhook-Timestamp") == "" {
		t.Errorf("headers %v", header)
	}
}

func TestSendStatus(t *testing.T) {
	tests := map[string]struct {
		head       string // after HTTP/1.1
		want       Class
		code       int
		message    string
		retryAfter time.Duration
	}{
		"200":                    {"200 OK", Delivered, 200, "200 OK", 0},
		"reason of the receiver": {"200 " + testSecret, Delivered, 200, "200 OK", 0},
		"no reason":              {"202", Delivered, 202, "202 Accepted", 0},
		"299":                    {"299 Odd", Delivered, 299, "299", 0},
		"after 100 and 103": {
			"100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK", Delivered, 200, "200 OK", 0,
		},
		"302": {
			"302 Found\r\nLocation: /x", RedirectRefused, 302, "302 Found: redirects are not followed", 0,
		},
		"307": {
			"307 X\r\nLocation: /x", RedirectRefused, 307, "307 Temporary Redirect: redirects are not followed", 0,
		},
		"308 without a location": {
			"308 X", RedirectRefused, 308, "308 Permanent Redirect: redirects are not followed", 0,
		},
		"304":                    {"304 X", RedirectRefused, 304, "304 Not Modified: redirects are not followed", 0},
		"404":                    {"404 X", UnexpectedStatus, 404, "404 Not Found", 0},
		"410":                    {"410 X", UnexpectedStatus, 410, "410 Gone", 0},
		"401 that asks for more": {"401 X\r\nWWW-Authenticate: Basic", UnexpectedStatus, 401, "401 Unauthorized", 0},
		"407 is not the proxy's": {"407 X", UnexpectedStatus, 407, "407 Proxy Authentication Required", 0},
		"429": {
			"429 X\r\nRetry-After: 7", UnexpectedStatus, 429, "429 Too Many Requests", 7 * time.Second,
		},
		"503": {
			"503 X\r\nRetry-After: 120", UnexpectedStatus, 503, "503 Service Unavailable", 2 * time.Minute,
		},
		"500 with Retry-After": {"500 X\r\nRetry-After: 120", UnexpectedStatus, 500, "500 Internal Server Error", 0},
		"599":                  {"599 X", UnexpectedStatus, 599, "599", 0},
		"999":                  {"999 X", UnexpectedStatus, 999, "999", 0},
		"101": {
			"101 X\r\nUpgrade: h2c\r\nConnection: upgrade", UnexpectedStatus, 101, "101 Switching Protocols", 0,
		},
		"below 100":              {"042 X", InvalidResponse, 0, "the status code is not one of HTTP", 0},
		"zero":                   {"000 X", InvalidResponse, 0, "the status code is not one of HTTP", 0},
		"signed":                 {"+20 X", InvalidResponse, 0, "the status code is not one of HTTP", 0},
		"four digits":            {"2000 X", InvalidResponse, 0, invalidResponse, 0},
		"no digits":              {"OK", InvalidResponse, 0, invalidResponse, 0},
		"header without a colon": {"200 OK\r\nbad header", InvalidResponse, 0, invalidResponse, 0},
		"contradictory length": {
			"200 OK\r\nContent-Length: 1\r\nContent-Length: 2", InvalidResponse, 0, invalidResponse, 0,
		},
		"unknown transfer encoding":    {"200 OK\r\nTransfer-Encoding: magic", InvalidResponse, 0, invalidResponse, 0},
		"closed inside the header":     {"200 OK\r\nX: 1\r\nclose", ConnectionFailed, 0, closedEarly, 0},
		"closed inside the first line": {"close", InvalidResponse, 0, invalidResponse, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for scheme, secure := range bothSchemes() {
				r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
					if readRequest(bufio.NewReader(conn)) == nil {
						return
					}
					head, broken := strings.CutSuffix("HTTP/1.1 "+tt.head, "close")
					if !broken {
						head += "\r\n\r\n"
					}
					_, _ = io.WriteString(conn, head)
					if !broken && tt.code != http.StatusSwitchingProtocols {
						return // and close
					}
					if !broken {
						hold(conn)
					}
				})
				s := newSender(t, nil)
				got := send(t, s, r.url)
				want := Result{
					Class: tt.want, StatusCode: tt.code, Message: tt.message, RetryAfter: tt.retryAfter,
					Start: got.Start, End: got.End,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("over %s (-want +got):\n%s", scheme, diff)
				}
				s.Close()
				expectNoClientGoroutines(t)
			}
		})
	}
}

const (
	invalidResponse = "the response header is not valid HTTP/1, or has more than 32 KiB or 256 lines"
	closedEarly     = "connection closed before a complete response header"
)

// bothSchemes returns the TLS configuration of a receiver for each scheme.
func bothSchemes() map[string]*tls.Config {
	return map[string]*tls.Config{"http": nil, "https": testCA().server()}
}

func TestSendUnusable(t *testing.T) {
	r := listen(t, "127.0.0.1:0", nil, hold)
	certificate, _ := testCA().issue(time.Now().Add(time.Hour))
	tests := map[string]struct {
		request Request
		want    Class
	}{
		"URL":    {Request{URL: "https://user:" + testSecret + "@127.0.0.1/"}, InvalidURL},
		"http":   {Request{URL: r.url}, InsecureURL},
		"port":   {Request{URL: "https://127.0.0.1:22/"}, AddressDenied},
		"secret": {Request{URL: "https://" + r.addr, Secret: []byte(testSecret + "\x00")}, InvalidSecret},
		"previous": {
			Request{URL: "https://" + r.addr, Secret: []byte("x"), Previous: make([]byte, 1<<20)}, InvalidSecret,
		},
		"TLS":            {Request{URL: "https://" + r.addr, TLS: &TLS{Certificate: certificate}}, InvalidTLS},
		"TLS authority":  {Request{URL: "https://" + r.addr, TLS: &TLS{CA: []byte(testSecret)}}, InvalidTLS},
		"denied address": {Request{URL: "https://169.254.169.254/latest/meta-data"}, AddressDenied},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSender(t, func(cfg *Config) { cfg.AllowHTTP = false })
			got := s.Send(t.Context(), tt.request)
			if got.Class != tt.want || got.Class.IsAttempt() || got.StatusCode != 0 || got.Message == "" || got.End.IsZero() {
				t.Errorf("%+v", got)
			}
			if strings.Contains(got.Message, testSecret) || strings.Contains(got.Message, "169.254") {
				t.Errorf("message %q", got.Message)
			}
		})
	}
	if r.accepted() != 0 {
		t.Errorf("%d connections", r.accepted())
	}
}

func TestIsAttempt(t *testing.T) {
	for _, class := range []Class{
		Delivered, UnexpectedStatus, RedirectRefused, Timeout, DNSError, ConnectionFailed, TLSError, InvalidResponse,
		ProxyError,
	} {
		if !class.IsAttempt() {
			t.Errorf("%s is no attempt", class)
		}
	}
	for _, class := range []Class{AddressDenied, InsecureURL, InvalidURL, InvalidSecret, InvalidTLS} {
		if class.IsAttempt() {
			t.Errorf("%s is an attempt", class)
		}
	}
}

// TestSendDeadlines is a request that its context ends before its own deadline.
func TestSendDeadlines(t *testing.T) {
	received := make(chan struct{}, 2)
	r := listen(t, "127.0.0.1:0", nil, func(conn net.Conn) {
		readRequest(bufio.NewReader(conn))
		received <- struct{}{}
		hold(conn)
	})
	s := newSender(t, nil)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got := s.Send(ctx, Request{ID: "1", URL: r.url})
	if got.Class != Timeout || !strings.HasPrefix(got.Message, "no response header within ") {
		t.Errorf("deadline: %s: %s", got.Class, got.Message)
	}
	<-received

	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-received
		cancel()
	}()
	got = s.Send(ctx, Request{ID: "1", URL: r.url})
	if got.Class != ConnectionFailed || got.Message != "the operator broke off the request" {
		t.Errorf("cancelled: %s: %s", got.Class, got.Message)
	}
}
