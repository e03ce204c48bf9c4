// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"time"
)

// Options says how a receiver listens, what it trusts and how it behaves. The zero value is an HTTPS server on a free
// port of 127.0.0.1 that answers every POST with 200 and verifies nothing, for it knows no secret.
type Options struct {
	// Listen is the address Start listens on. It defaults to 127.0.0.1:0, a free port.
	Listen string
	// AdminListen is the address on which the account is served, over plain HTTP: see [Server.AdminHandler]. Empty
	// means nowhere. It must not be reachable by senders.
	AdminListen string
	// Plain turns HTTPS off.
	Plain bool
	// Authority issues the certificate. It defaults to a new one.
	Authority *Authority
	// Hosts are what the certificate is for. They default to 127.0.0.1, ::1, localhost and *.receiver.test.
	Hosts []string

	// Secrets are all accepted. If there are any, a request must carry one of them and a signature made with one of
	// them, or is answered 401 whatever its path.
	Secrets []string
	// SkipSignature leaves signatures unchecked. By default they are checked wherever there is a secret.
	SkipSignature bool

	// Otherwise is the behaviour on paths that name none. See [ParseBehaviour].
	Otherwise Behaviour

	// Work is called with each new task, one at a time, after its request has been answered or while it is.
	Work func(Task)
	// QueueSize is the number of tasks that may wait for Work; what exceeds it is answered 503. It defaults to 10,000.
	QueueSize int
	// SuspectAfter is how long after its first refused request a task is suspected to be missed. 0 means never.
	SuspectAfter time.Duration
	// FetchURL is where results are fetched, as printed when a webhook is suspected to be missed. It defaults to /fetch.
	FetchURL string

	// Log receives a line for each request and task. It defaults to none.
	Log *slog.Logger
}

func (o *Options) setDefaults() {
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.QueueSize = cmp.Or(o.QueueSize, 10_000)
	o.FetchURL = cmp.Or(o.FetchURL, "/fetch")
	if len(o.Hosts) == 0 {
		o.Hosts = []string{"127.0.0.1", "::1", "localhost", "*.receiver.test"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// certify makes the certificate, and the authority too if there is none.
func (o *Options) certify() (*tls.Config, error) {
	if o.Authority == nil {
		authority, err := NewAuthority()
		if err != nil {
			return nil, err
		}
		o.Authority = authority
	}
	return o.Authority.ServerConfig(o.Hosts...)
}
