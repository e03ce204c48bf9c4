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

// farewell is how long closing a TLS connection may take.
const farewell = 50 * time.Millisecond

// briefConn is a connection below TLS. It shortens a write deadline to farewell. crypto/tls alone sets one, of 5 s, for
// the alert with which it closes a connection; a receiver that stopped reading would make Send wait for that beyond its
// deadline.
type briefConn struct {
	net.Conn
}

// SetWriteDeadline sets a deadline not later than farewell from now.
func (c briefConn) SetWriteDeadline(t time.Time) error {
	if soon := time.Now().Add(farewell); t.After(soon) {
		t = soon
	}
	return c.Conn.SetWriteDeadline(t)
}

// maxHeaderLines bounds the lines of a response header, those of 1xx answers before it included. net/http bounds only
// the bytes, and makes a hundred of two: headers of one letter would let a thousand receivers take a gigabyte.
const maxHeaderLines = 256

var errHeaderLines = errors.New("the response header has too many lines")

// responseConn is a connection above TLS. It counts the lines of the header that an attempt is waiting for.
type responseConn struct {
	net.Conn
	waiting atomic.Pointer[attempt]
}

// begin is called before an attempt's request is written, end when its response header has been read.
func (c *responseConn) begin(a *attempt) { c.waiting.Store(a) }

// end leaves the connection to the next attempt, if that has begun already.
func (c *responseConn) end(a *attempt) { c.waiting.CompareAndSwap(a, nil) }

// Read fails where more than maxHeaderLines have been read and the header is not complete: as long as an attempt waits,
// net/http reads only when it needs more of the header, so all that came before belongs to it.
func (c *responseConn) Read(p []byte) (int, error) {
	if a := c.waiting.Load(); a != nil && a.lines.Load() > maxHeaderLines {
		return 0, errHeaderLines
	}
	n, err := c.Conn.Read(p)
	if a := c.waiting.Load(); a != nil && n > 0 {
		a.answered.Store(true)
		a.lines.Add(int64(bytes.Count(p[:n], []byte("\n"))))
	}
	return n, err
}
