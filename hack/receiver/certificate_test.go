// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// The client knows the authority's PEM and nothing else, and dials the receiver under the name in the URL.
func TestCertificate(t *testing.T) {
	shared, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var (
		hostname         x509.HostnameError
		unknownAuthority x509.UnknownAuthorityError
	)
	tests := map[string]struct {
		options Options
		host    string
		trust   *Authority // the receiver's own if nil
		refused any        // the type of the error
	}{
		"address":            {host: "127.0.0.1"},
		"address, version 6": {host: "[::1]"},
		"localhost":          {host: "localhost"},
		"under the wildcard": {host: "a.receiver.test"},
		"authority given":    {host: "localhost", options: Options{Authority: shared}, trust: shared},
		"names given":        {host: "hook.example", options: Options{Hosts: []string{"hook.example"}}},
		"other name":         {host: "b.example", refused: &hostname},
		"name not given":     {host: "localhost", options: Options{Hosts: []string{"hook.example"}}, refused: &hostname},
		"stranger trusted":   {host: "localhost", trust: stranger, refused: &unknownAuthority},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := onLoopback(t, tc.options)
			ca := s.CA()
			if tc.trust != nil {
				ca = tc.trust.PEM()
			}
			c := newClient(t, "https://"+tc.host, &http.Transport{
				TLSClientConfig: trusting(t, ca),
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, s.listener.Addr().String())
				},
			})
			resp, err := c.post(t.Context(), t, message{path: "/ok"})
			switch {
			case tc.refused != nil && (err == nil || !errors.As(err, tc.refused)):
				t.Errorf("response %v, error %v", resp, err)
			case tc.refused == nil && err != nil:
				t.Error(err)
			case tc.refused == nil && resp.TLS.Version != tls.VersionTLS13:
				t.Errorf("TLS version %x", resp.TLS.Version)
			}
		})
	}
}

// Certificates made in a bubble are valid by its clock.
func TestTLSInVirtualTime(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		_, c := inMemory(t, Options{})
		resp, err := c.post(t.Context(), t, message{path: "/ok"})
		if err != nil {
			t.Fatal(err)
		}
		if resp.TLS == nil || resp.ProtoMajor != 1 {
			t.Errorf("TLS %v, %s", resp.TLS, resp.Proto)
		}
	})
}
