// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// TestVirtualTime holds receivers to the time that Send may take, over net.Pipe in a synctest bubble: a busy machine
// does not count, and a goroutine that stays behind fails the test.
func TestVirtualTime(t *testing.T) {
	type receiver struct {
		serve     func(net.Conn)
		handshake bool // after a handshake, where the scheme is https, and a request
		want      Class
		took      time.Duration
	}
	tests := map[string]receiver{
		"healthy": {func(conn net.Conn) { endless(conn, noContent, "") }, true, Delivered, 0},
		"hanging": {hold, true, Timeout, 10 * time.Second},
		"a handshake that drips": {
			func(conn net.Conn) { drip(conn, "\x16\x03\x03\x40\x00") }, false, Timeout, 10 * time.Second,
		},
		"a handshake that stops":      {halfHandshake, false, Timeout, 10 * time.Second},
		"a handshake without answers": {hold, false, Timeout, 10 * time.Second},
	}
	slow := map[string]time.Duration{
		"one byte a second": drainTime, "a header that drips": 10 * time.Second, "1xx that drip": 10 * time.Second,
		"silence": 10 * time.Second,
	}
	for name, serve := range hostile {
		if name != "reset" { // which net.Pipe does not know
			tests[name] = receiver{serve, true, hostileClass[name], slow[name]}
		}
	}
	for name, tt := range tests {
		for _, scheme := range []string{"http", "https"} {
			if scheme == "http" && !tt.handshake {
				continue
			}
			t.Run(name+" over "+scheme, func(t *testing.T) {
				virtualtime.Test(t, func(t *testing.T) {
					s, ca := pipeSender(t, scheme == "https" && tt.handshake, func(conn net.Conn) {
						if tt.handshake {
							readRequest(bufio.NewReader(conn))
						}
						tt.serve(conn)
					})
					s.dialer = writesAtOnce(s.dialer)
					request := Request{ID: "1", URL: scheme + "://receiver.test:8080/", Body: []byte("{}"), TLS: &TLS{CA: ca}}
					start := time.Now()
					result := s.Send(t.Context(), request)
					if took := time.Since(start); result.Class != tt.want || took < tt.took || took > tt.took+farewell {
						t.Errorf("%s: %s after %s, want %s after %s", result.Class, result.Message, took, tt.want, tt.took)
					}
					certain := time.Duration(0) // the time that draining takes does not count
					if result.Class == Timeout {
						certain = tt.took
						expectNothingLeft(t)
					}
					if after := result.End.Sub(start); result.Start != start || after < certain || after > certain+farewell {
						t.Errorf("from %s to %s", result.Start, result.End)
					}
				})
			})
		}
	}
}

// TestHangingDial is a connect that never ends. It does not outlive the request.
func TestHangingDial(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		virtualtime.Test(t, func(t *testing.T) {
			s, err := New(Config{
				RequestTimeout: 10 * time.Second, UserAgent: "test/1", AllowHTTP: true,
				Dialer: dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}),
			})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			result := s.Send(t.Context(), Request{ID: "1", URL: scheme + "://receiver.test:8080/"})
			if took := time.Since(start); result.Class != Timeout || result.Message != "no connection within 10s" ||
				took != 10*time.Second {
				t.Errorf("%s: %s after %s", result.Class, result.Message, took)
			}
			expectNothingLeft(t)
		})
	}
}

// TestStoppedReader is a receiver that reads a request to its end, and no more: at the deadline there is no room for
// the alert with which crypto/tls closes a connection.
func TestStoppedReader(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		s, ca := pipeSender(t, true, func(conn net.Conn) {
			readRequest(bufio.NewReader(conn))
			<-stop
		})
		request := Request{ID: "1", URL: "https://receiver.test:8080/", Body: []byte("{}"), TLS: &TLS{CA: ca}}
		start := time.Now()
		result := s.Send(t.Context(), request)
		if took := time.Since(start); result.Class != Timeout || took > 10*time.Second+250*time.Millisecond {
			t.Errorf("%s: %s after %s", result.Class, result.Message, took)
		}
	})
}

// pipeSender returns a Sender whose connections end at serve, and the authority of the receiver's certificate, if it
// has one. It is to be called in a bubble, and closes the Sender with it.
func pipeSender(t *testing.T, secure bool, serve func(net.Conn)) (s *Sender, ca []byte) {
	t.Helper()
	authority := newAuthority("CA of the bubble's time")
	config := authority.server("receiver.test")
	var serving sync.WaitGroup
	s, err := New(Config{
		RequestTimeout: 10 * time.Second, UserAgent: "test/1", AllowHTTP: true,
		Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			serving.Go(func() {
				defer server.Close()
				if secure {
					serve(tls.Server(server, config))
				} else {
					serve(server)
				}
			})
			return client, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		expectNothingLeft(t)
		serving.Wait()
	})
	return s, authority.pem
}

// writesAtOnce makes the writes to a dialer's pipes return before they are read. Otherwise crypto/tls, closing under a
// lock of net/http, waits for a reader of its alert; and who waits for a lock is not idle in a bubble, so that the time
// at which it would give up never comes.
func writesAtOnce(inner contextDialer) contextDialer {
	return dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := inner.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &queuedConn{Conn: conn, queue: make(chan []byte, 64), closed: make(chan struct{})}
		go c.write()
		return c, nil
	})
}

type queuedConn struct {
	net.Conn
	queue  chan []byte
	closed chan struct{}
	once   sync.Once
}

func (c *queuedConn) write() {
	for {
		select {
		case p := <-c.queue:
			_, _ = c.Conn.Write(p)
		case <-c.closed:
			return
		}
	}
}

func (c *queuedConn) Write(p []byte) (int, error) {
	select {
	case c.queue <- bytes.Clone(p):
		return len(p), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *queuedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func expectNothingLeft(t *testing.T) {
	t.Helper()
	time.Sleep(farewell)
	synctest.Wait()
	if left := clientGoroutines(); len(left) > 0 {
		t.Errorf("%d goroutines left, the first:\n%s", len(left), left[0])
	}
}
