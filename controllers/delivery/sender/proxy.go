// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// proxy is the administrator's egress proxy. The guard does not apply to connections to it, which is why it makes them
// itself: net/http's support for proxies would verify an https proxy by the delivery's TLS material, and leave it to
// the caller to tell the proxy's failures from the receiver's.
type proxy struct {
	address   string      // host:port
	secure    *tls.Config // nil: no TLS to the proxy
	authorize string      // Proxy-Authorization, or ""
	userAgent string
}

// newProxy returns nil without a URL. trust are the Sender's authorities: a delivery's own do not count for the proxy.
func newProxy(to *url.URL, trust *x509.CertPool, userAgent string) *proxy {
	if to == nil {
		return nil
	}
	p := &proxy{userAgent: userAgent}
	port := "80"
	if to.Scheme == "https" {
		port = "443"
		p.secure = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust, NextProtos: []string{"http/1.1"}}
	}
	if to.Port() != "" {
		port = to.Port()
	}
	p.address = net.JoinHostPort(to.Hostname(), port)
	if to.User != nil {
		credentials := &http.Request{Header: http.Header{}}
		password, _ := to.User.Password()
		credentials.SetBasicAuth(to.User.Username(), password)
		p.authorize = credentials.Header.Get("Authorization")
	}
	return p
}

// proxyError is a proxy that could not be reached or used.
type proxyError struct{ error }

func (e proxyError) Unwrap() error { return e.error }

// proxyRefusal is the status with which a proxy refuses to connect.
type proxyRefusal int

func (code proxyRefusal) Error() string {
	return fmt.Sprintf("the egress proxy refused to connect (%s)", statusMessage(int(code)))
}

// connect returns a connection to the address through the proxy. Its errors are of type proxyError.
func (p *proxy) connect(ctx context.Context, inner contextDialer, address string) (net.Conn, *rawConn, error) {
	plain, err := inner.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, nil, proxyError{err}
	}
	raw := newRawConn(plain)
	var conn net.Conn = raw
	if p.secure != nil {
		if conn, err = handshake(ctx, conn, p.secure, p.address); err != nil {
			return nil, nil, proxyError{err}
		}
	}
	abort := context.AfterFunc(ctx, func() { _ = plain.Close() })
	err = p.tunnel(conn, address)
	if !abort() || err != nil {
		return nil, nil, closeAfter(conn, proxyError{errors.Join(err, ctx.Err())})
	}
	return conn, raw, nil
}

// tunnel asks the proxy to connect (RFC 9110, section 9.3.6).
func (p *proxy) tunnel(conn net.Conn, address string) error {
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address,
		Header: http.Header{"User-Agent": {p.userAgent}},
	}
	if p.authorize != "" {
		request.Header.Set("Proxy-Authorization", p.authorize)
	}
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("asking the proxy to connect: %w", err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request) //nolint:bodyclose // the answer to a CONNECT has no body
	if err != nil {
		return fmt.Errorf("reading the proxy's response: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return proxyRefusal(response.StatusCode)
	}
	if reader.Buffered() > 0 {
		return errors.New("the receiver spoke before it was spoken to")
	}
	return nil
}
