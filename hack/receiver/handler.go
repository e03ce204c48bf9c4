// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxBody bounds what a stranger can make the receiver keep in memory.
const maxBody = 1 << 20

// ServeHTTP records the request, decides, and answers at once: the work is done later, by the inbox.
// A request that gets no answer panics with [http.ErrAbortHandler], on which the server cuts the connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := s.account.arrive(r.URL.Path, r.Header.Get(standardwebhooks.HeaderWebhookID))
	defer v.leave()
	a, ok := s.decide(w, r, v)
	if !ok || !s.wait(r.Context(), a) {
		gone := !ok || r.Context().Err() != nil
		v.unanswered(gone)
		s.log.Info("no answer", "path", r.URL.Path, "webhook_id", v.record.WebhookID, "client_gone", gone)
		panic(http.ErrAbortHandler)
	}
	v.answered(a.status)
	s.log.Info("answered", "path", r.URL.Path, "status", a.status, "webhook_id", v.record.WebhookID,
		"attempt", v.record.Attempt, "secret", v.record.Secret, "signature", v.record.Signature)
	if err := respond(w, a); err != nil {
		v.clientGone()
	}
}

// decide returns the answer, or false if the client left before its request was complete.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, v *visit) (answer, bool) {
	if r.Method != http.MethodPost {
		return answer{status: http.StatusMethodNotAllowed}, true
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	v.received(body)
	if err != nil {
		_, tooLarge := errors.AsType[*http.MaxBytesError](err)
		return answer{status: http.StatusRequestEntityTooLarge}, tooLarge
	}
	task := newTask(v.record.WebhookID, body)
	secret, signature := s.verify(r.Header, body)
	v.verified(task.ID, secret, signature)
	if !trusted(secret) || !trusted(signature) {
		return answer{status: http.StatusUnauthorized}, true
	}
	behaviour, err := s.behaviour(r.URL.Path)
	if err != nil {
		s.log.Warn("not a behaviour", "error", err)
		return answer{status: http.StatusNotFound}, true
	}
	return s.take(behaviour.answer(v.record.Attempt), task, v), true
}

// take puts the task into the inbox if the answer accepts it. A task that is not taken is expected to come again.
func (s *Server) take(a answer, task Task, v *visit) answer {
	if a.accepts() {
		if s.inbox.put(job{task: task, visit: v}) {
			return a
		}
		a = answer{status: http.StatusServiceUnavailable, retryAfter: "1"}
	}
	if s.options.SuspectAfter > 0 {
		s.overdue.expect(task.ID, s.options.SuspectAfter)
	}
	return a
}

// verify runs both checks even if the first fails, for the account's sake.
func (s *Server) verify(header http.Header, body []byte) (secret, signature Check) {
	if s.verifier == nil {
		return NotChecked, NotChecked
	}
	secret = checkOf(s.verifier.VerifySecret(header))
	if !s.options.SkipSignature {
		signature = checkOf(s.verifier.VerifySignature(header, body))
	}
	return secret, signature
}

func trusted(c Check) bool {
	return c == Passed || c == NotChecked
}

func (s *Server) behaviour(path string) (Behaviour, error) {
	b, ok, err := ParseBehaviour(path)
	if !ok {
		return s.options.Otherwise, nil
	}
	return b, err
}

// wait returns true when it is time to answer, and false if the answer hangs or the client has left.
func (s *Server) wait(ctx context.Context, a answer) bool {
	switch {
	case a.hang:
		select {
		case <-ctx.Done():
		case <-s.closing:
		}
		return false
	case a.delay > 0:
		timer := time.NewTimer(a.delay)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	return ctx.Err() == nil
}

// respond writes the answer. It is an error if the connection is known to be broken.
func respond(w http.ResponseWriter, a answer) error {
	header := w.Header()
	header.Set("Content-Length", "0")
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodPost)
	}
	if a.retryAfter != "" {
		header.Set("Retry-After", a.retryAfter)
	}
	if a.location != "" {
		header.Set("Location", a.location)
	}
	w.WriteHeader(a.status)
	if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
