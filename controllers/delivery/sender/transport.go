// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

const (
	// maxResponseHeader bounds the response header, all 1xx answers before it included.
	maxResponseHeader = 32 << 10
	// idleConnTimeout is below what servers and load balancers usually allow: a request that meets a connection being
	// closed at the other end is a failed attempt.
	idleConnTimeout = 30 * time.Second
	// sessions are TLS sessions kept for resumption, over all endpoints and for each set of TLS material. Each holds the
	// certificates that a receiver sent.
	sessions, sessionsPerMaterial = 64, 8
)

// newTransport returns a transport with its own connections. trust are the authorities, nil being the system's;
// material may be nil. It speaks HTTP/1.1 only, as net/http does over connections that it does not make itself: a
// connection that hangs holds up one request.
func (s *Sender) newTransport(trust *x509.CertPool, material *TLS) (*http.Transport, error) {
	secure := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            trust,
		NextProtos:         []string{"http/1.1"}, // a server of another protocol is to refuse (RFC 7301)
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	idle := s.cfg.MaxIdleConns
	if material != nil {
		if err := material.addTo(secure); err != nil {
			return nil, err
		}
		secure.ClientSessionCache = tls.NewLRUClientSessionCache(sessionsPerMaterial)
		// All of these together keep no more than the one without material: whoever may create Secrets can have many.
		idle = max(1, idle/maxTransports)
	}
	dialer := &dialer{
		inner: s.dialer, proxy: newProxy(s.cfg.EgressProxy, trust, s.cfg.UserAgent), secure: secure,
	}
	return &http.Transport{
		DialContext:            dialer.dial,
		DialTLSContext:         dialer.dialTLS,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxConnsPerHost:        s.cfg.MaxConnsPerEndpoint,
		MaxIdleConnsPerHost:    s.cfg.MaxConnsPerEndpoint,
		MaxIdleConns:           idle,
		IdleConnTimeout:        idleConnTimeout,
	}, nil
}
