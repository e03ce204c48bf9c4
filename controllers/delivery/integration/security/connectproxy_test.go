// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/webhookdelivery/operator/hack/connect"
)

// connectProxy is an egress proxy (RFC 9110, section 9.3.6) that connects to one address whatever it is asked for, and
// refuses hosts that begin with "refused.".
type connectProxy struct {
	*listener
	to   string
	mu   sync.Mutex
	asks []ask
}

// ask is what a client of the proxy asked for.
type ask struct {
	method, host string
	header       http.Header
}

func startProxy(ctx context.Context, to string) (*connectProxy, error) {
	l, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	p := &connectProxy{listener: l, to: to}
	go serve(l, p)
	return p, nil
}

// asked returns what was asked for that host and port.
func (p *connectProxy) asked(host string) (asks []ask) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asks {
		if a.host == host {
			asks = append(asks, a)
		}
	}
	return asks
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p.mu.Lock()
	p.asks = append(p.asks, ask{req.Method, req.Host, req.Header.Clone()})
	p.mu.Unlock()
	if req.Method != http.MethodConnect || strings.HasPrefix(req.Host, "refused.") {
		http.Error(w, responseMarker, http.StatusForbidden)
		return
	}
	connect.Serve(w, req, p.to)
}
