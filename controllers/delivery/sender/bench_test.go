// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkSend sends 500 bytes over kept connections, to a receiver in memory so that the allocations are the sender's
// alone, and to one on loopback over TLS.
func BenchmarkSend(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 500)
	memory := newSender(b, func(cfg *Config) {
		cfg.Dialer = dialFunc(func(context.Context, string, string) (net.Conn, error) {
			return &cannedConn{body: body, response: make(chan []byte, 1)}, nil
		})
	})
	secure := listen(b, "127.0.0.1:0", testCA().server(), func(conn net.Conn) {
		received, buffer := 0, make([]byte, 4<<10)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if received += n; bytes.HasSuffix(buffer[:n], body) {
				_, _ = io.WriteString(conn, noContent)
			}
		}
	})
	benchmarks := map[string]struct {
		s       *Sender
		request Request
	}{
		"memory":        {memory, Request{URL: "http://receiver.test:8080/hook"}},
		"memory signed": {memory, Request{URL: "http://receiver.test:8080/hook", Secret: []byte(testSecret)}},
		"TLS signed":    {newSender(b, nil), Request{URL: secure.url, Secret: []byte(testSecret)}},
		"TLS signed, private CA": {
			newSender(b, nil), Request{URL: secure.url, Secret: []byte(testSecret), TLS: &TLS{CA: testCA().pem}},
		},
	}
	for name, bm := range benchmarks {
		b.Run(name, func(b *testing.B) {
			bm.request.ID, bm.request.Body = "550e8400-e29b-41d4-a716-446655440000", body
			b.ReportAllocs()
			for b.Loop() {
				if result := bm.s.Send(b.Context(), bm.request); result.Class != Delivered {
					b.Fatalf("%+v", result)
				}
			}
		})
	}
}

// cannedConn answers each request, known by its last bytes, with noContent.
type cannedConn struct {
	net.Conn
	body     []byte
	response chan []byte
}

func (c *cannedConn) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, c.body) {
		c.response <- []byte(noContent)
	}
	return len(p), nil
}

func (c *cannedConn) Read(p []byte) (int, error) {
	response, ok := <-c.response
	if !ok {
		return 0, io.EOF
	}
	return copy(p, response), nil
}

func (c *cannedConn) Close() error {
	close(c.response)
	return nil
}

func (*cannedConn) SetDeadline(time.Time) error { return nil }

func BenchmarkGuard(b *testing.B) {
	g := newGuard(DefaultPorts, prefixes("10.0.0.0/8"), prefixes("10.96.0.1/32"))
	for name, ip := range map[string]string{"IPv4": "8.8.8.8", "IPv6": "2606:4700::1111", "NAT64": "64:ff9b::8.8.8.8"} {
		b.Run(name, func(b *testing.B) {
			addr := netip.MustParseAddr(ip)
			b.ReportAllocs()
			for b.Loop() {
				g.permits(addr)
			}
		})
	}
}
