// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsZone answers for host names, with the n-th entry to the n-th question for IPv4 addresses and with the last one
// from then on. It is a name server on the other end of net.Pipe.
type dnsZone struct {
	hosts map[string][]dnsAnswer

	mu    sync.Mutex
	asked map[string]int
}

type dnsAnswer struct {
	cname string
	addrs []string
	code  dnsmessage.RCode
}

func (z *dnsZone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go z.serve(server)
		return client, nil
	}}
}

// serve speaks DNS over a stream: each message follows its length in two bytes (RFC 1035, section 4.2.2).
func (z *dnsZone) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var length uint16
		if binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		query := make([]byte, length)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(query) != nil || len(message.Questions) != 1 {
			return
		}
		answer := must(z.answer(message).Pack())
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (z *dnsZone) answer(query dnsmessage.Message) *dnsmessage.Message {
	question := query.Questions[0]
	header := dnsmessage.Header{ID: query.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}
	found, ok := z.next(question)
	if !ok {
		header.RCode = dnsmessage.RCodeNameError
		return &dnsmessage.Message{Header: header, Questions: query.Questions}
	}
	header.RCode = found.code
	response := &dnsmessage.Message{Header: header, Questions: query.Questions}
	add := func(name dnsmessage.Name, kind dnsmessage.Type, body dnsmessage.ResourceBody) {
		response.Answers = append(response.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET}, Body: body,
		})
	}
	name := question.Name
	if found.cname != "" {
		alias := dnsmessage.MustNewName(found.cname)
		add(name, dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: alias})
		name = alias
	}
	for _, addr := range found.addrs {
		switch ip := netip.MustParseAddr(addr); {
		case ip.Is4() && question.Type == dnsmessage.TypeA:
			add(name, dnsmessage.TypeA, &dnsmessage.AResource{A: ip.As4()})
		case ip.Is6() && question.Type == dnsmessage.TypeAAAA:
			add(name, dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: ip.As16()})
		}
	}
	return response
}

func (z *dnsZone) next(question dnsmessage.Question) (dnsAnswer, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := question.Name.String()
	answers, ok := z.hosts[name]
	if !ok {
		return dnsAnswer{}, false
	}
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	if question.Type == dnsmessage.TypeA {
		z.asked[name]++
	}
	return answers[min(max(z.asked[name], 1), len(answers))-1], true
}

// only is a zone in which one host has these addresses.
func only(addrs ...string) *dnsZone {
	return &dnsZone{hosts: map[string][]dnsAnswer{"receiver.test.": {{addrs: addrs}}}}
}

func TestResolvedAddresses(t *testing.T) {
	tests := map[string]struct {
		zone    *dnsZone
		allow   []string
		closed  bool // nothing listens, otherwise the receiver does on 127.0.0.2 and ::1
		want    Class
		reached bool // the receiver sees a connection
	}{
		"permitted":  {zone: only("127.0.0.2"), allow: []string{"127.0.0.2/32"}, want: Delivered, reached: true},
		"denied":     {zone: only("127.0.0.2"), want: AddressDenied},
		"all denied": {zone: only("127.0.0.2", "10.0.0.1", "::1", "fe80::1"), want: AddressDenied},
		"denied first": {
			zone: only("127.0.0.1", "127.0.0.2"), allow: []string{"127.0.0.2/32"}, want: Delivered, reached: true,
		},
		"denied last": {
			zone: only("127.0.0.2", "127.0.0.1"), allow: []string{"127.0.0.2/32"}, want: Delivered, reached: true,
		},
		"IPv4 denied": {zone: only("127.0.0.2", "::1"), allow: []string{"::1/128"}, want: Delivered, reached: true},
		"IPv6 denied": {
			zone: only("::1", "127.0.0.2"), allow: []string{"127.0.0.2/32"}, want: Delivered, reached: true,
		},
		"refused and denied": {zone: only("127.0.0.1", "127.0.0.3"), allow: []string{"127.0.0.3/32"}, want: ConnectionFailed},
		"refused in the end": {zone: only("127.0.0.3", "127.0.0.1"), allow: []string{"127.0.0.3/32"}, want: ConnectionFailed},
		"IPv6 refused": {
			zone: only("127.0.0.1", "::1"), allow: []string{"::1/128"}, closed: true, want: ConnectionFailed,
		},
		"mapped in an answer": {zone: only("::ffff:127.0.0.2"), allow: []string{"::1/128"}, want: AddressDenied},
		"metadata": {
			zone: only("169.254.169.254", "fd00:ec2::254"), allow: []string{"0.0.0.0/0", "::/0"}, want: AddressDenied,
		},
		"CNAME to metadata": {
			zone: &dnsZone{hosts: map[string][]dnsAnswer{
				"receiver.test.": {{cname: "metadata.internal.", addrs: []string{"169.254.169.254"}}},
			}},
			allow: []string{"169.254.0.0/16"},
			want:  AddressDenied,
		},
		"CNAME to loopback": {
			zone: &dnsZone{hosts: map[string][]dnsAnswer{
				"receiver.test.": {{cname: "localhost.", addrs: []string{"127.0.0.2"}}},
			}},
			want: AddressDenied,
		},
		"no such host": {zone: &dnsZone{}, want: DNSError},
		"no addresses": {zone: only(), want: DNSError},
		"server failure": {
			zone: &dnsZone{hosts: map[string][]dnsAnswer{"receiver.test.": {{code: dnsmessage.RCodeServerFailure}}}},
			want: DNSError,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			port := freePort(t, "127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")
			reached := listen(t, "127.0.0.2:"+port, testCA().server("receiver.test"), answer(noContent))
			reached6 := listen(t, "[::1]:"+port, testCA().server("receiver.test"), answer(noContent))
			if tt.closed {
				reached.stop()
				reached6.stop()
			}
			s := newSender(t, func(cfg *Config) {
				cfg.AllowCIDRs = prefixes(tt.allow...)
				cfg.Resolver = tt.zone.resolver()
			})
			result := send(t, s, "https://receiver.test:"+port+"/hook")
			if result.Class != tt.want {
				t.Errorf("%s: %s, want %s", result.Class, result.Message, tt.want)
			}
			if got := reached.accepted()+reached6.accepted() > 0; got != tt.reached {
				t.Errorf("the receiver saw a connection: %t, want %t", got, tt.reached)
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

// TestRebinding is a name that leads to a permitted address first and to a denied one when it is looked up again.
func TestRebinding(t *testing.T) {
	port := freePort(t, "127.0.0.1", "127.0.0.2")
	permitted := listen(t, "127.0.0.2:"+port, testCA().server("receiver.test"), answer(
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"))
	victim := listen(t, "127.0.0.1:"+port, nil, hold)
	zone := &dnsZone{hosts: map[string][]dnsAnswer{
		"receiver.test.": {{addrs: []string{"127.0.0.2"}}, {addrs: []string{"127.0.0.1"}}},
	}}
	s := newSender(t, func(cfg *Config) {
		cfg.AllowCIDRs = prefixes("127.0.0.2/32")
		cfg.Resolver = zone.resolver()
	})
	url := "https://receiver.test:" + port + "/hook"
	for i, want := range []Class{Delivered, AddressDenied, AddressDenied} {
		if result := send(t, s, url); result.Class != want {
			t.Errorf("request %d: %s: %s, want %s", i, result.Class, result.Message, want)
		}
	}
	if permitted.accepted() != 1 || victim.accepted() != 0 {
		t.Errorf("%d connections to the permitted address, %d to the denied one", permitted.accepted(), victim.accepted())
	}
}

func TestLiteralAddresses(t *testing.T) {
	victim := listen(t, "127.0.0.1:0", nil, hold)
	_, port, _ := net.SplitHostPort(victim.addr)
	s := newSender(t, func(cfg *Config) { cfg.AllowCIDRs = nil })
	for _, host := range []string{
		"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "0.0.0.0",
		"[::]", "localhost", "10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "[2002:7f00:1::1]",
	} {
		if result := send(t, s, "http://"+host+":"+port+"/hook"); result.Class != AddressDenied || result.Class.IsAttempt() {
			t.Errorf("%s: %s: %s", host, result.Class, result.Message)
		}
	}
	if victim.accepted() != 0 {
		t.Errorf("%d connections", victim.accepted())
	}
}

// TestManyAddresses is a name with more addresses than are tried.
func TestManyAddresses(t *testing.T) {
	var addrs []string
	for i := range 200 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{127, 0, 3, byte(i + 1)}).String())
	}
	s := newSender(t, func(cfg *Config) { cfg.Resolver = only(addrs...).resolver() })
	tried := 0
	dialer := s.dialer.(*guardedDialer)
	ctx := context.WithValue(t.Context(), dialRecordKey{}, &dialRecord{})
	for range addrs {
		if dialer.ControlContext(ctx, "tcp4", "127.0.3.1:443", nil) == nil {
			tried++
		}
	}
	if tried != maxAddresses {
		t.Errorf("%d addresses are tried, want %d", tried, maxAddresses)
	}
	result := send(t, s, "http://receiver.test:8080/hook")
	if result.Class != ConnectionFailed {
		t.Errorf("%s: %s", result.Class, result.Message)
	}
}

// TestSilentNameServer is a lookup that takes longer than there is time. The lookups of package net live on until their
// own timeout, of 5 s, or until the name server hangs up.
func TestSilentNameServer(t *testing.T) {
	hangUp := make(chan struct{})
	s := newSender(t, func(cfg *Config) {
		cfg.RequestTimeout = 100 * time.Millisecond
		cfg.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				<-hangUp
				server.Close()
			}()
			return client, nil
		}}
	})
	result := send(t, s, "https://receiver.test/hook")
	close(hangUp)
	if result.Class != Timeout || result.Message != "no connection within 100ms" {
		t.Errorf("%s: %s", result.Class, result.Message)
	}
	s.Close()
	expectNoClientGoroutines(t)
}
