// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hostile are receivers that do all they can to a sender, after they have read a request. Each returns when the
// connection breaks.
var hostile = map[string]func(conn net.Conn){
	"endless body": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 32<<10))
	},
	"endless chunks": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")
	},
	"endless chunk extension": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", strings.Repeat("x", 32<<10))
	},
	"endless trailer": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", strings.Repeat("x: y\r\n", 4<<10))
	},
	"one byte a second": func(conn net.Conn) {
		drip(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
	},
	"gzip bomb": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", bomb)
	},
	"reset inside the body": func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		reset(conn)
	},
	"long body that never comes": say("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n"),
	"switching protocols":        say("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
	"100 MB in one header": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 32<<10))
	},
	"100 MB of headers": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\n", strings.Repeat("X: y\r\n", 4<<10))
	},
	"short lines in the header": say("HTTP/1.1 200 OK\r\n" + strings.Repeat("a:\n", 8<<10) + "\r\n"),
	"endless status line": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 ", strings.Repeat("x", 32<<10))
	},
	"continuation lines": func(conn net.Conn) {
		endless(conn, "HTTP/1.1 200 OK\r\nX: y\r\n", strings.Repeat(" z\r\n", 4<<10))
	},
	"flood of 1xx": func(conn net.Conn) {
		endless(conn, "", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 1<<10))
	},
	"not HTTP": say("220 mail.example ESMTP\r\n"),
	"a header that drips": func(conn net.Conn) {
		drip(conn, "HTTP/1.1 200 OK\r\nX: ")
	},
	"1xx that drip": func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
				return
			}
			pause(100 * time.Millisecond)
		}
	},
	"silence": hold,
	"reset":   reset,
	"close":   func(net.Conn) {},
}

// bomb is a gzip member of a megabyte of zeros. Members can follow one another (RFC 1952, section 2.2).
var bomb = func() string {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_ = must(writer.Write(make([]byte, 1<<20)))
	_ = writer.Close()
	return packed.String()
}()

// endless writes what is repeated until the connection breaks, or to 100 MB.
func endless(conn net.Conn, first, repeated string) {
	written, err := io.WriteString(conn, first)
	for err == nil && repeated != "" && written < 100<<20 {
		n := 0
		n, err = io.WriteString(conn, repeated)
		written += n
	}
}

func drip(conn net.Conn, first string) {
	for _, err := io.WriteString(conn, first); err == nil; _, err = io.WriteString(conn, "x") {
		pause(time.Second)
	}
}

// say writes a text, and then no more.
func say(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, text)
		hold(conn)
	}
}

// pause is what a slow receiver does.
func pause(d time.Duration) { time.Sleep(d) }

func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
	_ = conn.Close()
}

var hostileClass = map[string]Class{
	"endless body":               Delivered,
	"endless chunks":             Delivered,
	"endless chunk extension":    Delivered,
	"endless trailer":            Delivered,
	"one byte a second":          Delivered,
	"gzip bomb":                  Delivered,
	"reset inside the body":      Delivered,
	"long body that never comes": Delivered,
	"switching protocols":        UnexpectedStatus,
	"100 MB in one header":       InvalidResponse,
	"100 MB of headers":          InvalidResponse,
	"short lines in the header":  InvalidResponse,
	"endless status line":        InvalidResponse,
	"continuation lines":         InvalidResponse,
	"flood of 1xx":               InvalidResponse,
	"not HTTP":                   InvalidResponse,
	"a header that drips":        Timeout,
	"1xx that drip":              Timeout,
	"silence":                    Timeout,
	"reset":                      ConnectionFailed,
	"close":                      ConnectionFailed,
}

// TestHostileReceivers looks at the outcome, at what is read and at what stays behind, over the sockets of this
// machine.
func TestHostileReceivers(t *testing.T) {
	for name, serve := range hostile {
		for scheme, secure := range bothSchemes() {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				var got counter
				r := listen(t, "127.0.0.1:0", secure, func(conn net.Conn) {
					readRequest(bufio.NewReader(conn))
					serve(conn)
				})
				s := newSender(t, func(cfg *Config) { cfg.RequestTimeout = 300 * time.Millisecond })
				s.dialer = got.around(s.dialer)
				result := send(t, s, r.url)
				if result.Class != hostileClass[name] {
					t.Errorf("%s: %s, want %s", result.Class, result.Message, hostileClass[name])
				}
				if hasCode := result.Class == Delivered || result.Class == UnexpectedStatus; (result.StatusCode != 0) != hasCode {
					t.Errorf("status code %d", result.StatusCode)
				}
				limit := int64(128 << 10) // of a body or of a header, 64 KiB and what stands in buffers
				if name == "endless chunks" {
					limit = 2 << 20 // 64 KiB in chunks of 1 byte, each in a TLS record of its own
				}
				if n := got.read.Load(); n > limit {
					t.Errorf("%d bytes read", n)
				}
				s.Close()
				expectNoClientGoroutines(t)
			})
		}
	}
}

// TestHandshakes are receivers that are hostile before a request is sent.
func TestHandshakes(t *testing.T) {
	tests := map[string]struct {
		serve func(net.Conn)
		want  Class
		wants string
	}{
		"never begins": {hold, Timeout, "no complete TLS handshake within 300ms"},
		"never ends":   {halfHandshake, Timeout, "no complete TLS handshake within 300ms"},
		"drips": {
			func(conn net.Conn) { drip(conn, "\x16\x03\x03\x40\x00") }, Timeout, "no complete TLS handshake within 300ms",
		},
		"endless": {func(conn net.Conn) {
			endless(conn, "", "\x16\x03\x03\x40\x00"+strings.Repeat("\x02\x00\x3f\xfc", 4<<10))
		}, TLSError, ""},
		"is closed": {func(conn net.Conn) { readSome(conn) }, TLSError, "the TLS handshake failed"},
		"is reset":  {func(conn net.Conn) { readSome(conn); reset(conn) }, TLSError, "the TLS handshake failed"},
		"is HTTP": {
			say("HTTP/1.1 400 Bad Request\r\n\r\n"), TLSError, "the receiver does not speak TLS",
		},
		"is SSH": {
			func(conn net.Conn) { endless(conn, "SSH-2.0-OpenSSH_9\r\n", "") }, TLSError, "the receiver does not speak TLS",
		},
		"is refused": {
			say("\x15\x03\x03\x00\x02\x02\x28"), TLSError, "remote error: tls: handshake failure",
		},
		"unknown alert": {
			say("\x15\x03\x03\x00\x02\x02\xff"), TLSError, "remote error: tls: alert(255)",
		},
		"only warnings":  {func(conn net.Conn) { endless(conn, "", "\x15\x03\x03\x00\x02\x01\x00") }, TLSError, ""},
		"empty messages": {func(conn net.Conn) { endless(conn, "", "\x16\x03\x03\x00\x00") }, TLSError, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got counter
			r := listen(t, "127.0.0.1:0", nil, tt.serve)
			s := newSender(t, func(cfg *Config) { cfg.RequestTimeout = 300 * time.Millisecond })
			s.dialer = got.around(s.dialer)
			result := send(t, s, "https"+strings.TrimPrefix(r.url, "http"))
			if result.Class != tt.want || tt.wants != "" && result.Message != tt.wants {
				t.Errorf("%s: %s, want %s: %s", result.Class, result.Message, tt.want, tt.wants)
			}
			if n := got.read.Load(); n > maxHandshake {
				t.Errorf("%d bytes read", n)
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

// TestBytesAfterTheHeader is what is read of a connection, below TLS, once the header has decided.
func TestBytesAfterTheHeader(t *testing.T) {
	client, server := net.Pipe()
	go func() { endless(server, "", strings.Repeat("x", 32<<10)) }()
	raw := newRawConn(client)
	conn, a := &responseConn{Conn: raw, raw: raw}, &attempt{}
	conn.begin(a)
	conn.end(a)
	n, err := io.Copy(io.Discard, conn)
	if n != 2*maxDrain || !errors.Is(err, errTooMuch) {
		t.Errorf("%d bytes are read, and then: %v", n, err)
	}
	client.Close()
}

func readSome(conn net.Conn) { _, _ = conn.Read(make([]byte, 4<<10)) }

// halfHandshake answers with the first bytes of what a TLS server would say, and then no more.
func halfHandshake(conn net.Conn) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	server := tls.Server(theirs, testCA().server())
	go func() { _ = server.Handshake() }()
	go func() { _, _ = io.Copy(ours, conn) }()
	_, _ = io.CopyN(conn, ours, 100)
	hold(conn)
}

// TestRedirects is a receiver that redirects to another host, and to another port of loopback.
func TestRedirects(t *testing.T) {
	victim := listen(t, "127.0.0.1:0", nil, answer(noContent))
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{victim.url, "//" + victim.addr, "http://other.example/", "/elsewhere"} {
			r := listen(t, "127.0.0.1:0", nil, answer(fmt.Sprintf(
				"HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", code, location)))
			s := newSender(t, nil)
			result := send(t, s, r.url)
			if result.Class != RedirectRefused || result.StatusCode != code {
				t.Errorf("%d to %s: %+v", code, location, result)
			}
			if r.accepted() != 1 {
				t.Errorf("%d connections", r.accepted())
			}
		}
	}
	if victim.accepted() != 0 {
		t.Error("a redirect was followed")
	}
}
