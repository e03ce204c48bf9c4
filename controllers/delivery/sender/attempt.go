// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// attempt notes how far one request came. net/http calls from several goroutines, some of which outlive the request.
type attempt struct {
	start, deadline time.Time
	onConnection    func(reused bool)
	conn            atomic.Pointer[responseConn] // on which the request was written
	handshaking     atomic.Bool                  // a TLS handshake with the receiver has begun
	answered        atomic.Bool                  // the receiver has sent something since the request was begun
	early           atomic.Bool                  // what seemed its answer was there before the request
	lines           atomic.Int64                 // of the response header
}

type attemptKey struct{}

// attemptFrom returns the attempt that a connection is made for. Every request of a Sender has one.
func attemptFrom(ctx context.Context) *attempt {
	return ctx.Value(attemptKey{}).(*attempt)
}

// context returns a context to make the request with.
func (a *attempt) context(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, attemptKey{}, a)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.conn.Store(nil) }, // also for a second one, nothing having been written to the first
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn.(*responseConn)
			a.conn.Store(conn)
			conn.begin(a)
			a.onConnection(info.Reused)
		},
		GotFirstResponseByte: a.checkAnswer,
	})
}

// checkAnswer is called with the first byte of what seems to be the answer at hand, and nothing read after it. Where
// that was there before the request, the connection is closed: what follows on it would be one answer off.
func (a *attempt) checkAnswer() {
	if a.answered.Load() {
		return
	}
	a.early.Store(true)
	if conn := a.conn.Load(); conn != nil {
		_ = conn.Close()
	}
}

// headerRead is called when the response header has been read.
func (a *attempt) headerRead() {
	if conn := a.conn.Load(); conn != nil {
		conn.end(a)
	}
}
