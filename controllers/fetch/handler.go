// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// Path is where the endpoint is.
const Path = "/fetch"

// Headers of a request and of an answer.
const (
	// SecretHeader carries the delivery's secret, as it does in the webhook itself.
	SecretHeader = "X-Webhook-Secret"

	// IDHeader is the webhook-id that every attempt of the delivery carries.
	IDHeader = "Webhook-Id"
	// NameHeader is the delivery's name.
	NameHeader = "Webhook-Delivery-Name"
	// PhaseHeader is status.phase: Pending, Retrying, Delivered or Undeliverable.
	PhaseHeader = "Webhook-Delivery-Phase"
	// AttemptsHeader is how many attempts have been made in this round.
	AttemptsHeader = "Webhook-Delivery-Attempts"
	// CompletedHeader is status.completionTime in RFC 3339; absent while attempts are to come.
	CompletedHeader = "Webhook-Delivery-Completed"
)

// lookUpTimeout bounds how long a request asks the API server.
const lookUpTimeout = 5 * time.Second

// refusal is an answer other than the payload. Its text goes to the client.
type refusal struct {
	code       int
	text       string
	retryAfter time.Duration // zero: no Retry-After
}

func (r *refusal) Error() string { return r.text }

// The refusals that do not depend on what is wrong with a request. errNotFound is the one answer to everyone who may
// not read, whatever the cause.
var (
	errNotFound = &refusal{code: http.StatusNotFound, text: "no such task, or not yours to read"}
	errMethod   = &refusal{code: http.StatusMethodNotAllowed, text: "use GET or POST"}
	errBusy     = &refusal{http.StatusServiceUnavailable, "too many requests at the same time, try again", time.Second}
	errFailed   = &refusal{http.StatusServiceUnavailable, "the result cannot be read now, try again", 5 * time.Second}
)

// ServeHTTP answers 200 with the payload, or says why not: 400 malformed, 404 not found or not allowed, 405, 413, 429
// too many requests of this client, 503 too many of all or the API server does not answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	d, err := s.answer(w, r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	raw := d.Spec.Payload.Raw
	if !s.unread.TryAcquire(int64(len(raw))) {
		s.refuse(w, r, errBusy)
		return
	}
	defer s.unread.Release(int64(len(raw)))
	describe(header, d)
	write(w, http.StatusOK, raw)
}

// answer returns the delivery that r asks for. The error is a *refusal, or tells what went wrong with the API server.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (*v1alpha1.WebhookDelivery, error) {
	switch {
	case !s.clients.allow(r.RemoteAddr):
		return nil, &refusal{http.StatusTooManyRequests, "too many requests, try again later", s.clients.pause()}
	case r.URL.Path != Path:
		return nil, errNotFound
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST")
		return nil, errMethod
	}
	q, err := parse(w, r)
	if err != nil {
		return nil, err
	}
	arrived := time.Now()
	d, err := s.lookUp(r, q)
	if err != nil && !errors.Is(err, errBusy) {
		hide(r.Context(), arrived)
	}
	return d, err
}

// lookUp asks the API server, for requests with a credential and while not too many others do.
func (s *Server) lookUp(r *http.Request, q query) (*v1alpha1.WebhookDelivery, error) {
	if !hasCredential(r) {
		return nil, errNotFound
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookUpTimeout)
	defer cancel()
	c := credential{secret: r.Header.Get(SecretHeader)}
	var err error
	if c.user, err = s.access.user(ctx, r); err != nil {
		return nil, err
	}
	return s.finder.newest(ctx, q, c)
}

func hasCredential(r *http.Request) bool {
	return r.Header.Get(SecretHeader) != "" || r.Header.Get("Authorization") != ""
}

// refuse writes what err says to the client. It logs an API server that does not answer.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer, ok := errors.AsType[*refusal](err)
	if !ok {
		answer = errFailed
		if r.Context().Err() == nil {
			s.failures.Do(func() { s.logger.Error(withoutURL(err), "cannot read results") })
		}
	}
	if answer.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(answer.retryAfter.Seconds()), 'f', 0, 64))
	}
	body, _ := json.Marshal(map[string]string{"error": answer.text}) // cannot fail: two strings
	write(w, answer.code, body)
}

// withoutURL takes the URL, which has the task id in it, out of a transport's error.
func withoutURL(err error) error {
	if transport, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("asking the API server: %w", transport.Err)
	}
	return err
}

// describe tells the delivery's state. All values are of the API server's making: names, numbers, times.
func describe(header http.Header, d *v1alpha1.WebhookDelivery) {
	header.Set(IDHeader, string(d.UID))
	header.Set(NameHeader, d.Name)
	header.Set(PhaseHeader, string(d.Status.Phase))
	header.Set(AttemptsHeader, strconv.Itoa(len(d.Status.Attempts)))
	if completed := d.Status.CompletionTime; completed != nil {
		header.Set(CompletedHeader, completed.UTC().Format(time.RFC3339))
	}
}

func write(w http.ResponseWriter, code int, body []byte) {
	requestsTotal.WithLabelValues(strconv.Itoa(code)).Inc()
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	// A client that has gone away needs no answer.
	_, _ = w.Write(body)
}
