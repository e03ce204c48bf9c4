// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package connect is what an HTTP proxy does with CONNECT (RFC 9110, section 9.3.6), for tests that lead the operator
// elsewhere than its URLs say.
package connect

import (
	"io"
	"net"
	"net/http"
)

// Serve answers a CONNECT request, whatever it asks for, with a connection to the given address, and returns when one
// of the two sides has closed.
func Serve(w http.ResponseWriter, req *http.Request, to string) {
	there, err := (&net.Dialer{}).DialContext(req.Context(), "tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n") // a side that is gone is seen below
	go func() {
		_, _ = io.Copy(there, here)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
}
