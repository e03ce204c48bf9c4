// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sender makes the HTTP request of a delivery: one request per call, no retry, no redirect. The URL, the secret
// and the receiver may all be hostile. It decides where a connection may lead, what is sent, how long and how much is
// read, and what to call the outcome; it knows nothing of Kubernetes.
package sender

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// maxDrain and drainTime bound how much of a response body is read, and for how long, for the sake of using the
	// connection again. More would cost more than another connection.
	maxDrain  = 64 << 10
	drainTime = time.Second
)

// Request is one request to make.
type Request struct {
	// ID is sent as webhook-id, the same on every attempt of a delivery. It must be valid as a header's value.
	ID string
	// URL is where to POST: https, or http where that is allowed, in plain ASCII, with a host and no user information.
	URL string
	// Body is sent as it is, as application/json. It is not retained or changed.
	Body []byte
	// Secret is sent as x-webhook-secret and signs the request; one newline at its end is not part of it. nil: neither.
	Secret []byte
	// Previous, if not empty, signs beside Secret. It is never sent.
	Previous []byte
	// TLS is the material for the connection, if any.
	TLS *TLS
}

// TLS is material for a connection, in PEM.
type TLS struct {
	// Certificate, with its chain, and Key prove this client to the receiver. Both or neither.
	Certificate, Key []byte
	// CA, if not empty, are the authorities to trust instead of the Sender's.
	CA []byte
}

// Result is what came of one request.
type Result struct {
	Class Class
	// StatusCode is that of the response, from 100 to 999; 0 without one.
	StatusCode int
	// Message is the outcome for people, on one line of at most 256 bytes. It quotes neither the URL, an address, the
	// secret nor the response.
	Message string
	// Start is when Send was called; End is when the outcome was certain, before the body was drained.
	Start, End time.Time
	// RetryAfter is how long, from End, a 429 or 503 asks to wait; 0 if it does not, and at most a year.
	RetryAfter time.Duration
}

// Sender makes requests. It is safe for concurrent use.
type Sender struct {
	cfg        Config
	guard      *guard
	dialer     contextDialer
	transports *transports
}

// New returns a Sender, or what is wrong with the configuration.
func New(cfg Config) (*Sender, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	roots, err := newRoots(cfg.CABundleFile, cfg.OnReloadError)
	if err != nil {
		return nil, err
	}
	s := &Sender{cfg: cfg, guard: newGuard(cfg.AllowedPorts, cfg.AllowCIDRs, cfg.DenyCIDRs), dialer: cfg.Dialer}
	plain := net.Dialer{Resolver: cfg.Resolver}
	switch {
	case s.dialer != nil:
	case cfg.EgressProxy != nil:
		s.dialer = &plain
	default:
		plain.ControlContext = s.guard.control
		s.dialer = &guardedDialer{plain}
	}
	s.transports = &transports{roots: roots, build: s.newTransport}
	return s, nil
}

// Close closes the connections that are not in use, and those in use after that. There is nothing else to stop.
func (s *Sender) Close() {
	s.transports.closeIdle()
}

// Send makes the request and returns its outcome, not later than the request timeout, or the deadline of ctx, and a
// quarter of a second, whatever the receiver does.
func (s *Sender) Send(ctx context.Context, req Request) Result {
	result := Result{Start: time.Now()}
	finish := func(class Class, message string) Result {
		result.Class, result.Message, result.End = class, clip(message), time.Now()
		return result
	}
	to, class, message := s.check(&req)
	if class != "" {
		return finish(class, message)
	}
	transport, err := s.transports.get(req.TLS)
	if err != nil {
		return finish(InvalidTLS, err.Error())
	}
	ctx, cancel := context.WithDeadline(ctx, result.Start.Add(s.cfg.RequestTimeout))
	defer cancel()
	a := &attempt{start: result.Start, onConnection: s.cfg.OnConnection}
	a.deadline, _ = ctx.Deadline()
	post, err := s.newRequest(a.context(ctx), to, &req, result.Start)
	if err != nil {
		return finish(InvalidSecret, "the secret cannot be used as a signing key")
	}
	// Not http.Client: it would follow redirects, and put the URL into its errors.
	response, err := transport.RoundTrip(post)
	a.headerRead()
	if err != nil {
		return finish(failure(ctx, a, err))
	}
	defer drain(response, cancel)
	if a.early.Load() {
		return finish(InvalidResponse, earlyAnswer)
	}
	if response.StatusCode < 100 {
		return finish(InvalidResponse, "the status code is not one of HTTP")
	}
	result.StatusCode = response.StatusCode
	finish(classify(response.StatusCode))
	result.RetryAfter = retryAfter(response.StatusCode, response.Header, result.End)
	return result
}

// check returns the class and message of a request that must not be made.
func (s *Sender) check(req *Request) (target, Class, string) {
	to, class, message := parseTarget(req.URL, s.cfg.AllowHTTP)
	if class != "" {
		return to, class, message
	}
	if !s.guard.ports.contains(to.port) {
		return to, AddressDenied, fmt.Sprintf("policy does not permit port %d", to.port)
	}
	if s.cfg.EgressProxy != nil && to.addr.IsValid() && !s.guard.permits(to.addr) {
		return to, AddressDenied, errAddressDenied.Error()
	}
	if message := checkSecret(req.Secret); message != "" {
		return to, InvalidSecret, message
	}
	if len(trimNewline(req.Previous)) > maxSecret {
		return to, InvalidSecret, "the previous secret has more than 4096 bytes"
	}
	return to, "", ""
}

// newRequest returns a request that net/http sends again only where nothing of it was written to a connection: for that
// it has a GetBody, and no Idempotency-Key header.
func (s *Sender) newRequest(ctx context.Context, to target, req *Request, now time.Time) (*http.Request, error) {
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "", bytes.NewReader(req.Body))
	if err != nil {
		return nil, err
	}
	post.URL, post.Host = to.url, to.url.Host
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("User-Agent", s.cfg.UserAgent)
	return post, setHeaders(post.Header, req, now)
}

func classify(code int) (Class, string) {
	message := statusMessage(code)
	switch code / 100 {
	case 2:
		return Delivered, message
	case 3:
		return RedirectRefused, message + ": redirects are not followed"
	default:
		return UnexpectedStatus, message
	}
}

// drain reads what is left of a short response, so that the connection can be used again, and closes it. What goes
// wrong meanwhile changes nothing: the header has decided.
func drain(response *http.Response, cancel context.CancelFunc) {
	defer response.Body.Close()
	if response.StatusCode < 200 || response.ContentLength > maxDrain {
		return // after 101 the body is the bare connection, whose reads cancel does not end
	}
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxDrain))
}
