// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package receiver is a reference receiver of webhooks. It does what a receiver should: it serves HTTPS, verifies the
// x-webhook-secret header and the signature (verify.go), answers at once and works later, drops duplicates by task_id
// (inbox.go), and says what it would fetch when it suspects that a webhook was missed (overdue.go).
//
// It can also do what receivers should not, such as to fail, hang or redirect (behaviour.go), and it keeps an exact
// account of every request (record.go, account.go): demo, tests and benchmarks use it for that.
package receiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than senders keep connections, so that a sender never writes into one just being closed.
	idleTimeout = 5 * time.Minute
	// closeTimeout is how long Close waits for requests in flight.
	closeTimeout = 10 * time.Second
)

// Server is a receiver. It is an [http.Handler] that can also serve itself.
type Server struct {
	options  Options
	log      *slog.Logger
	verifier *Verifier // nil if there are no secrets
	fetch    *url.URL

	account *account
	inbox   *inbox
	overdue *overdue

	http     *http.Server
	tls      *tls.Config // nil if plain
	listener net.Listener
	admin    *adminServer // nil if there is none

	closing chan struct{}
	close   func() error
}

// New makes a receiver that does not listen. It must be closed.
func New(o Options) (*Server, error) {
	o.setDefaults()
	s := &Server{log: o.Log, account: newAccount(), closing: make(chan struct{})}
	var err error
	if err = o.Otherwise.validate(); err != nil {
		return nil, fmt.Errorf("the behaviour on other paths: %w", err)
	}
	if len(o.Secrets) > 0 {
		if s.verifier, err = NewVerifier(o.Secrets...); err != nil {
			return nil, err
		}
	}
	if s.fetch, err = url.Parse(o.FetchURL); err != nil {
		return nil, fmt.Errorf("the URL to fetch from: %w", err)
	}
	if !o.Plain {
		if s.tls, err = o.certify(); err != nil {
			return nil, fmt.Errorf("the receiver's certificate: %w", err)
		}
	}
	s.options = o
	s.inbox = newInbox(o.QueueSize, o.Work, s.log)
	s.overdue = newOverdue(s.suspect)
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.close = sync.OnceValue(s.closeAll)
	return s, nil
}

// Start makes a receiver that listens and serves until it is closed.
func Start(o Options) (*Server, error) {
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) listen() (err error) {
	s.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.options.Listen)
	if err != nil {
		return fmt.Errorf("the receiver: %w", err)
	}
	if s.options.AdminListen != "" {
		if s.admin, err = startAdmin(s.options.AdminListen, s.AdminHandler(), s.log); err != nil {
			return errors.Join(err, s.listener.Close())
		}
	}
	go func() {
		if err := s.Serve(s.listener); err != nil {
			s.log.Error("the receiver stopped serving", "error", err)
		}
	}()
	return nil
}

// Serve serves connections of the listener, which may be one in memory, and closes it. It returns nil once the
// receiver is closed.
func (s *Server) Serve(l net.Listener) error {
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// URL returns the address of a started receiver, such as https://127.0.0.1:41873, without a path.
func (s *Server) URL() string {
	scheme := "https"
	if s.tls == nil {
		scheme = "http"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// AdminURL returns the address of the account, or an empty string if it is not served.
func (s *Server) AdminURL() string {
	if s.admin == nil {
		return ""
	}
	return s.admin.url
}

// CA returns the certificate of the authority that vouches for the receiver, in PEM, or nil if the receiver is plain.
func (s *Server) CA() []byte {
	if s.tls == nil {
		return nil
	}
	return s.options.Authority.PEM()
}

// Close stops listening, lets requests in flight have their answers for at most 10 s, cuts off those that hang, and
// works on the tasks that have been taken. The account stays readable.
func (s *Server) Close() error {
	return s.close()
}

func (s *Server) closeAll() error {
	close(s.closing)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	go func() {
		// Shutdown alone would wait 5 s for connections that were opened and never used.
		defer cancel()
		_ = s.account.wait(ctx, func(_ Snapshot, handlers int) bool { return handlers == 0 })
	}()
	err := s.http.Shutdown(ctx)
	if ctx.Err() != nil {
		err = s.http.Close()
	}
	s.overdue.close()
	s.inbox.close()
	if s.admin != nil {
		err = errors.Join(err, s.admin.close())
	}
	return err
}

// Requests returns the account: a record of every request since the start or the last Reset, in order of arrival.
func (s *Server) Requests() []Record {
	return s.account.requests()
}

// ByID returns the records of one webhook-id, in order of arrival.
func (s *Server) ByID(webhookID string) []Record {
	return s.account.byID(webhookID)
}

// Snapshot returns the totals of the account.
func (s *Server) Snapshot() Snapshot {
	return s.account.snapshot()
}

// Wait returns nil as soon as done has returned true for the totals of the account, which it is asked at once and after
// every change. done may call the other methods. The error is of ctx and says what the totals were.
func (s *Server) Wait(ctx context.Context, done func(Snapshot) bool) error {
	return s.account.wait(ctx, func(totals Snapshot, _ int) bool { return done(totals) })
}

// Reset begins a new account and forgets which tasks have been worked on. Requests under way belong to the old one.
func (s *Server) Reset() {
	s.overdue.reset()
	s.account.reset()
}

// Expect tells the receiver that a task was started whose webhook should come within the time. If it has not been
// worked on by then, the receiver says what it would fetch.
func (s *Server) Expect(taskID string, within time.Duration) {
	s.overdue.expect(taskID, within)
}

func (s *Server) suspect(taskID string) {
	if !s.account.suspect(taskID) {
		return
	}
	fetch := *s.fetch
	query := fetch.Query()
	query.Set("task_id", taskID)
	fetch.RawQuery = query.Encode()
	s.log.Warn("a webhook may have been missed", "task_id", taskID, "would_fetch", "GET "+fetch.String())
}
