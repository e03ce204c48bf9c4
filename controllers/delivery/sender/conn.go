// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

const (
	// farewell is how long closing a TLS connection may take.
	farewell = 50 * time.Millisecond
	// maxHandshake bounds what is read of a TLS handshake. crypto/tls alone takes 256 KiB of certificates.
	maxHandshake = 48 << 10
	// maxHeaderLines bounds the lines of a response header, those of 1xx answers before it included. net/http bounds only
	// the bytes, and makes a hundred of two: headers of one letter would let a thousand receivers take a gigabyte.
	maxHeaderLines = 256
	// slack is what TLS may add to a response, tickets for resumption above all.
	slack = 8 << 10
)

var errTooMuch = errors.New("the receiver sends too much")

// rawConn is a connection below TLS.
type rawConn struct {
	net.Conn
	left atomic.Int64 // bytes that may still be read
}

// newRawConn allows a handshake.
func newRawConn(conn net.Conn) *rawConn {
	c := &rawConn{Conn: conn}
	c.allow(maxHandshake)
	return c
}

// allow sets how many bytes may be read from now on.
func (c *rawConn) allow(n int64) { c.left.Store(n) }

// Read fails when all that is allowed has been read.
func (c *rawConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(-int64(n))
	return n, err
}

// SetWriteDeadline sets a deadline not later than farewell from now. crypto/tls alone sets one, of 5 s, for the alert
// with which it closes a connection; a receiver that stopped reading would make Send wait for that beyond its deadline.
func (c *rawConn) SetWriteDeadline(t time.Time) error {
	if soon := time.Now().Add(farewell); t.After(soon) {
		t = soon
	}
	return c.Conn.SetWriteDeadline(t)
}

// responseConn is a connection above TLS, if any. It bounds the header that an attempt is waiting for, and tells
// whether any of it came after the request.
type responseConn struct {
	net.Conn
	raw     *rawConn
	waiting atomic.Pointer[attempt]
	asked   atomic.Bool // the attempt that waits has begun to write its request
}

// begin is called before an attempt's request is written.
func (c *responseConn) begin(a *attempt) {
	c.raw.allow(maxResponseHeader + slack)
	c.asked.Store(false)
	c.waiting.Store(a)
}

func (c *responseConn) Write(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(p)
}

// end is called when the attempt's response header has been read. The next attempt may have begun already.
func (c *responseConn) end(a *attempt) {
	if c.waiting.CompareAndSwap(a, nil) {
		c.raw.allow(2 * maxDrain)
	}
}

// Read fails where more than maxHeaderLines have been read and the header is not complete: as long as an attempt waits,
// net/http reads only when it needs more of the header, so all that came before belongs to it.
func (c *responseConn) Read(p []byte) (int, error) {
	if a := c.waiting.Load(); a != nil && a.lines.Load() > maxHeaderLines {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p)
	if a := c.waiting.Load(); a != nil && n > 0 {
		if c.asked.Load() {
			a.answered.Store(true)
		}
		a.lines.Add(int64(bytes.Count(p[:n], []byte("\n"))))
	}
	return n, err
}
