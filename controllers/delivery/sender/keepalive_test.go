// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// seen counts the requests that a receiver read in whole, by webhook-id.
type seen struct {
	mu     sync.Mutex
	counts map[string]int
}

func (s *seen) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[id]++
}

func (s *seen) of(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[id]
}

// TestKeepAlive sends one request after the other over one connection.
func TestKeepAlive(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		for name, response := range map[string]string{
			"no body":   noContent,
			"body":      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
			"chunked":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
			"lines":     "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("\n", 60000),
			"failure":   "HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nbody",
			"after 103": "HTTP/1.1 103 X\r\n\r\n" + noContent,
		} {
			r := listen(t, "127.0.0.1:0", secure, answer(response))
			s := newSender(t, nil)
			for range 5 {
				send(t, s, r.url)
			}
			if r.accepted() != 1 {
				t.Errorf("%s over %s: %d connections", name, scheme, r.accepted())
			}
		}
	}
}

// TestConnectionsAreTold counts connections that a receiver closes after every second request.
func TestConnectionsAreTold(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
			reader := bufio.NewReader(conn)
			for _, end := range []string{"", "Connection: close\r\n"} {
				if readRequest(reader) == nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n"+end+"\r\n")
			}
		})
		counts := map[bool]int{}
		s := newSender(t, func(cfg *Config) { cfg.OnConnection = func(reused bool) { counts[reused]++ } })
		for range 6 {
			send(t, s, r.url)
		}
		if r.accepted() != 3 || counts[false] != 3 || counts[true] != 3 {
			t.Errorf("over %s: %d connections, told of %d opened and %d reused, want 3 each",
				scheme, r.accepted(), counts[false], counts[true])
		}
	}
}

// TestKilledBetweenRequests is a receiver that closes, or resets, the connection while it is kept for reuse. Whatever
// the sender meets, the receiver sees no request twice.
func TestKilledBetweenRequests(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		for name, kill := range map[string]func(net.Conn){"close": func(net.Conn) {}, "reset": reset} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				var requests seen
				r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
					if request := readRequest(bufio.NewReader(conn)); request != nil {
						requests.add(request.Header.Get("Webhook-Id"))
						_, _ = io.WriteString(conn, noContent)
					}
					kill(conn)
				})
				s := newSender(t, nil)
				for i := range 50 {
					id := fmt.Sprint(i)
					result := s.Send(t.Context(), Request{ID: id, URL: r.url, Body: []byte("{}")})
					n := requests.of(id)
					if n > 1 || result.Class == Delivered && n != 1 || result.Class != Delivered && result.Class != ConnectionFailed {
						t.Errorf("request %d is seen %d times: %s: %s", i, n, result.Class, result.Message)
					}
				}
				s.Close()
				expectNoClientGoroutines(t)
			})
		}
	}
}

// TestKilledDuringRequest is a receiver that reads the second request on a connection and resets it without an answer.
// It may have acted on the request: that one is not sent again.
func TestKilledDuringRequest(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		var requests seen
		r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
			reader := bufio.NewReader(conn)
			for request := readRequest(reader); request != nil; request = readRequest(reader) {
				id := request.Header.Get("Webhook-Id")
				requests.add(id)
				if id == "2" {
					reset(conn)
					return
				}
				_, _ = io.WriteString(conn, noContent)
			}
		})
		s := newSender(t, nil)
		for i, want := range []Class{Delivered, ConnectionFailed, Delivered} {
			id := fmt.Sprint(i + 1)
			result := s.Send(t.Context(), Request{ID: id, URL: r.url, Body: []byte("{}")})
			if result.Class != want || requests.of(id) != 1 {
				t.Errorf("request %s over %s: %s: %s; seen %d times", id, scheme, result.Class, result.Message, requests.of(id))
			}
		}
		if r.accepted() != 2 {
			t.Errorf("over %s: %d connections", scheme, r.accepted())
		}
	}
}

// TestUnsolicited is a receiver that sends more than its answer. What follows one is never taken for, nor made part of,
// the answer to the request that is next on the connection: many of them wait for the only one there is.
func TestUnsolicited(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		for name, extra := range map[string]string{
			"an answer":      noContent,
			"half an answer": "HTTP/1.1 204 X\r\nX: ",
			"early hints":    "HTTP/1.1 103 X\r\n\r\n" + noContent,
			"a body":         `{"ok":true}`,
		} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				var accepted seen
				r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
					reader, after := bufio.NewReader(conn), extra
					for request := readRequest(reader); request != nil; request = readRequest(reader) {
						response := "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
						if id := request.Header.Get("Webhook-Id"); len(id)%2 == 0 {
							accepted.add(id)
							response = noContent
						}
						_, _ = io.WriteString(conn, response+after)
						after = ""
					}
				})
				s := newSender(t, func(cfg *Config) { cfg.MaxConnsPerEndpoint = 1 })
				var sending sync.WaitGroup
				for i := range 50 {
					sending.Go(func() {
						id := strings.Repeat("x", i+1)
						result := s.Send(t.Context(), Request{ID: id, URL: r.url, Body: []byte("{}")})
						if result.Class == Delivered && accepted.of(id) != 1 {
							t.Errorf("request %d: %s; accepted %d times", i, result.Message, accepted.of(id))
						}
					})
				}
				sending.Wait()
				s.Close()
				expectNoClientGoroutines(t)
			})
		}
	}
}

// TestBrokenWrite is a kept connection whose next write fails. Where no byte was written, the request goes out on
// another connection; where one was, it does not.
func TestBrokenWrite(t *testing.T) {
	tests := map[string]struct {
		written int // bytes before the failure
		want    Class
		conns   int
	}{
		"nothing written":  {0, Delivered, 2},
		"one byte written": {1, ConnectionFailed, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var requests seen
			r := listen(t, "127.0.0.1:0", nil, func(conn net.Conn) {
				reader := bufio.NewReader(conn)
				for request := readRequest(reader); request != nil; request = readRequest(reader) {
					requests.add(request.Header.Get("Webhook-Id"))
					_, _ = io.WriteString(conn, noContent)
				}
			})
			var broken atomic.Bool
			s := newSender(t, func(cfg *Config) {
				cfg.Dialer = dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
					return breakingConn{conn, &broken, tt.written}, err
				})
			})
			if result := s.Send(t.Context(), Request{ID: "1", URL: r.url, Body: []byte("{}")}); result.Class != Delivered {
				t.Fatalf("%+v", result)
			}
			broken.Store(true)
			result := s.Send(t.Context(), Request{ID: "2", URL: r.url, Body: []byte("{}")})
			delivered := 0
			if tt.want == Delivered {
				delivered = 1
			}
			if result.Class != tt.want || requests.of("2") != delivered || r.accepted() != tt.conns {
				t.Errorf("%s: %s; seen %d times; %d connections", result.Class, result.Message, requests.of("2"), r.accepted())
			}
		})
	}
}

// breakingConn fails one write once broken is set, after so many bytes.
type breakingConn struct {
	net.Conn
	broken *atomic.Bool
	after  int
}

func (c breakingConn) Write(p []byte) (int, error) {
	if !c.broken.CompareAndSwap(true, false) {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:c.after])
	if err == nil {
		err = &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return n, err
}
