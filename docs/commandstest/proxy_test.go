// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package commandstest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
)

// startProxy starts an egress proxy that connects to one address whatever it is asked for, so that the URLs of the pages
// lead to the receiver of this test.
func startProxy(to string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, here)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
	}))
}
