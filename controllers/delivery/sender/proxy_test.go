// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"
)

// connectProxy tunnels every CONNECT to one address, and passes on what it was asked.
func connectProxy(to string, asked chan<- *http.Request) func(net.Conn) {
	return func(client net.Conn) {
		reader := bufio.NewReader(client)
		request := readRequest(reader)
		if request == nil {
			return
		}
		asked <- request
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer server.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 Connected\r\n\r\n")
		var copying sync.WaitGroup
		copying.Go(func() {
			_, _ = io.Copy(server, reader)
			server.Close()
		})
		_, _ = io.Copy(client, server)
		client.Close()
		copying.Wait()
	}
}

func throughProxy(proxy *receiver, user string) func(*Config) {
	return func(cfg *Config) {
		to := must(url.Parse(proxy.url))
		cfg.EgressProxy = &url.URL{Scheme: to.Scheme, Host: to.Host}
		if user != "" {
			cfg.EgressProxy.User = url.UserPassword(user, testSecret)
		}
		cfg.AllowCIDRs = nil // the proxy stands on loopback, and is exempt
		cfg.Resolver = (&dnsZone{}).resolver()
		cfg.RequestTimeout = 500 * time.Millisecond
	}
}

// TestProxy sends through a proxy, over http and https, which alone knows where receiver.test is.
func TestProxy(t *testing.T) {
	for scheme, secure := range bothSchemes() {
		t.Run("over "+scheme, func(t *testing.T) {
			requests, asked := make(chan *http.Request, 2), make(chan *http.Request, 2)
			other := newAuthority("other")
			r := listen(t, "127.0.0.1:0", other.server("receiver.test"), capture(requests))
			proxy := listen(t, "127.0.0.1:0", secure, connectProxy(r.addr, asked))
			s := newSender(t, throughProxy(proxy, "operator"))
			// The authority of the delivery is for the receiver, the Sender's are for the proxy.
			request := Request{
				ID: "1", URL: "https://receiver.test/hook", Body: []byte("{}"), Secret: []byte(testSecret),
				TLS: &TLS{CA: other.pem},
			}
			for range 2 {
				if result := s.Send(t.Context(), request); result.Class != Delivered {
					t.Fatalf("%+v", result)
				}
			}
			connect := <-asked
			credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte("operator:"+testSecret))
			if connect.Method != http.MethodConnect || connect.Host != "receiver.test:443" ||
				connect.Header.Get("Proxy-Authorization") != credentials || connect.Header.Get("X-Webhook-Secret") != "" {
				t.Errorf("%s %s %v", connect.Method, connect.Host, connect.Header)
			}
			got := <-requests
			if got.RequestURI != "/hook" || got.Header.Get("X-Webhook-Secret") != testSecret ||
				got.Header.Get("Proxy-Authorization") != "" {
				t.Errorf("%s %v", got.RequestURI, got.Header)
			}
			if proxy.accepted() != 1 || r.accepted() != 1 {
				t.Errorf("%d connections to the proxy, %d to the receiver", proxy.accepted(), r.accepted())
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

// TestProxyPlainHTTP sends an http URL through the same kind of tunnel.
func TestProxyPlainHTTP(t *testing.T) {
	asked := make(chan *http.Request, 1)
	r := listen(t, "127.0.0.1:0", nil, answer("HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"))
	proxy := listen(t, "127.0.0.1:0", nil, connectProxy(r.addr, asked))
	s := newSender(t, throughProxy(proxy, ""))
	result := send(t, s, "http://receiver.test:8080/hook")
	if result.Class != UnexpectedStatus || result.StatusCode != 502 {
		t.Fatalf("%+v", result)
	}
	got := <-asked
	if got.Method != http.MethodConnect || got.Host != "receiver.test:8080" || got.Header.Get("User-Agent") != "test/1" {
		t.Errorf("%s %s %v", got.Method, got.Host, got.Header)
	}
}

// TestProxyGuard is what the guard still refuses where a proxy resolves the names.
func TestProxyGuard(t *testing.T) {
	asked := make(chan *http.Request, 16)
	proxy := listen(t, "127.0.0.1:0", nil, connectProxy("", asked))
	s := newSender(t, throughProxy(proxy, ""))
	for target, want := range map[string]Class{
		"https://127.0.0.1/":              AddressDenied,
		"https://[::1]/":                  AddressDenied,
		"https://[::ffff:10.0.0.1]/":      AddressDenied,
		"https://[64:ff9b::10.0.0.1]/":    AddressDenied,
		"https://169.254.169.254/":        AddressDenied,
		"https://[fd00:ec2::254]/":        AddressDenied,
		"https://" + proxy.addr + "/":     AddressDenied,
		"https://receiver.test:22/":       AddressDenied,
		"http://receiver.test:81/":        AddressDenied,
		"https://127.1/":                  InvalidURL,
		"https://0x7f000001/":             InvalidURL,
		"https://2130706433/":             InvalidURL,
		"https://127.0.0.1./":             InvalidURL,
		"http://10.0.0.1:8080/":           AddressDenied,
		"http://user@receiver.test:8080/": InvalidURL,
	} {
		if result := s.Send(t.Context(), Request{ID: "1", URL: target}); result.Class != want {
			t.Errorf("%s: %s: %s, want %s", target, result.Class, result.Message, want)
		}
	}
	if proxy.accepted() != 0 {
		t.Errorf("%d connections to the proxy", proxy.accepted())
	}
}

func TestProxyFailures(t *testing.T) {
	refuse := func(code int) func(net.Conn) {
		return answer(fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: 4\r\n\r\nbody", code, testSecret))
	}
	after := func(serve func(net.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			readRequest(bufio.NewReader(conn))
			serve(conn)
		}
	}
	plain := listen(t, "127.0.0.1:0", nil, func(conn net.Conn) {
		readSome(conn)
		say("HTTP/1.1 400 X\r\n\r\n")(conn)
	})
	tests := map[string]struct {
		serve   func(net.Conn)
		want    Class
		message string
	}{
		"403": {refuse(403), ProxyError, "the egress proxy refused to connect (403 Forbidden)"},
		"407": {
			refuse(407), ProxyError, "the egress proxy refused to connect (407 Proxy Authentication Required)",
		},
		"502":            {refuse(502), ProxyError, "the egress proxy refused to connect (502 Bad Gateway)"},
		"302":            {refuse(302), ProxyError, "the egress proxy refused to connect (302 Found)"},
		"closes":         {after(func(net.Conn) {}), ProxyError, "no connection through the egress proxy"},
		"resets":         {after(reset), ProxyError, "no connection through the egress proxy"},
		"no HTTP":        {after(hostile["not HTTP"]), ProxyError, "no connection through the egress proxy"},
		"endless header": {after(hostile["100 MB in one header"]), ProxyError, "no connection through the egress proxy"},
		"flood of 1xx": {
			after(hostile["flood of 1xx"]), ProxyError, "the egress proxy refused to connect (103 Early Hints)",
		},
		"early words": {
			after(say("HTTP/1.1 200 OK\r\n\r\nSSH")), ProxyError, "no connection through the egress proxy",
		},
		"silent": {hold, Timeout, "no connection within 500ms"},
		"receiver not TLS": {
			connectProxy(plain.addr, make(chan *http.Request, 1)), TLSError, "the receiver does not speak TLS",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proxy := listen(t, "127.0.0.1:0", nil, tt.serve)
			s := newSender(t, throughProxy(proxy, "operator"))
			result := send(t, s, "https://receiver.test/hook")
			if result.Class != tt.want || tt.message != "" && result.Message != tt.message || result.StatusCode != 0 {
				t.Errorf("%+v, want %s: %s", result, tt.want, tt.message)
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

func TestProxyUnreachable(t *testing.T) {
	proxy := listen(t, "127.0.0.1:0", nil, hold)
	proxy.stop()
	s := newSender(t, throughProxy(proxy, ""))
	for _, target := range []string{"https://receiver.test/", "http://receiver.test:8080/"} {
		if result := send(t, s, target); result.Class != ProxyError {
			t.Errorf("%s: %+v", target, result)
		}
	}
	untrusted := listen(t, "127.0.0.1:0", newAuthority("unknown").server(), hold)
	s = newSender(t, throughProxy(untrusted, ""))
	if result := send(t, s, "https://receiver.test/"); result.Class != ProxyError {
		t.Errorf("untrusted proxy: %+v", result)
	}
}

// TestEnvironmentProxy is a request to another host than loopback, which net/http would always exempt. See TestMain.
func TestEnvironmentProxy(t *testing.T) {
	for scheme, secure := range map[string]*tls.Config{"http": nil, "https": testCA().server("receiver.test")} {
		r := listen(t, "127.0.0.1:0", secure, answer(noContent))
		_, port, _ := net.SplitHostPort(r.addr)
		s := newSender(t, func(cfg *Config) { cfg.Resolver = only("127.0.0.1").resolver() })
		if result := send(t, s, scheme+"://receiver.test:"+port+"/hook"); result.Class != Delivered {
			t.Errorf("%+v", result)
		}
	}
}

func TestProxyAddress(t *testing.T) {
	for proxy, want := range map[string]string{
		"http://proxy.example:3128":  "proxy.example:3128",
		"http://proxy.example":       "proxy.example:80",
		"https://proxy.example/":     "proxy.example:443",
		"https://[2001:db8::1]:3128": "[2001:db8::1]:3128",
	} {
		if got := newProxy(must(url.Parse(proxy)), nil, "test/1").address; got != want {
			t.Errorf("the address of %s is %s, want %s", proxy, got, want)
		}
	}
}
