// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pipenet is a network in memory of one listener. Unlike sockets, its connections may be used in a bubble of
// [testing/synctest]: a goroutine that waits for one lets virtual time go on.
package pipenet

import (
	"context"
	"net"
	"sync"
)

// Listener accepts the connections that are dialled by its own DialContext.
type Listener struct {
	accept chan net.Conn
	closed chan struct{}
	close  func()
}

// Listen returns a listener. It must be made in the bubble in which it is used.
func Listen() *Listener {
	closed := make(chan struct{})
	return &Listener{
		accept: make(chan net.Conn), closed: closed, close: sync.OnceFunc(func() { close(closed) }),
	}
}

// DialContext connects to the listener, whatever the network and address: it serves as [net/http.Transport]'s. It
// returns [net.ErrClosed] once the listener is closed, and ctx's error if nothing accepts before ctx is done.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.accept <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accept:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. Open connections stay open.
func (l *Listener) Close() error {
	l.close()
	return nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr {
	return address{}
}

type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "pipe" }
