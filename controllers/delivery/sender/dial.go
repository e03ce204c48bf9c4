// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

type contextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// dialer makes the connections of one transport.
type dialer struct {
	inner  contextDialer
	proxy  *proxy      // nil: connect directly
	secure *tls.Config // for the receiver
}

// handshakeError is a TLS handshake with the receiver that failed.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// dial connects for an http URL.
func (d *dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, attemptFrom(ctx).deadline)
	defer cancel()
	conn, raw, err := d.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	return &responseConn{Conn: conn, raw: raw}, nil
}

// dialTLS connects for an https URL.
func (d *dialer) dialTLS(ctx context.Context, _, address string) (net.Conn, error) {
	a := attemptFrom(ctx)
	ctx, cancel := context.WithDeadline(ctx, a.deadline)
	defer cancel()
	conn, raw, err := d.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	a.handshaking.Store(true)
	secured, err := handshake(ctx, conn, d.secure, address)
	if err != nil {
		return nil, handshakeError{err}
	}
	return &responseConn{Conn: secured, raw: raw}, nil
}

// connect returns a connection to the address, without TLS to the receiver, and what is at the bottom of it. The
// attempt's deadline is in ctx: net/http would let the dial, and all that follows, outlive the request that needed the
// connection.
func (d *dialer) connect(ctx context.Context, address string) (net.Conn, *rawConn, error) {
	if d.proxy != nil {
		return d.proxy.connect(ctx, d.inner, address)
	}
	conn, err := d.inner.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	raw := newRawConn(conn)
	return raw, raw, nil
}

// handshake closes conn if it fails.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, closeAfter(conn, fmt.Errorf("reading the address: %w", err))
	}
	config = config.Clone()
	config.ServerName = host
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, closeAfter(conn, err)
	}
	return secured, nil
}

// closeAfter closes a connection that err made useless. What closing it says adds nothing.
func closeAfter(conn net.Conn, err error) error {
	_ = conn.Close()
	return err
}
