// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package visit is a request that one process describes and another makes.
package visit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	timeout = 15 * time.Second
	maxBody = 4 << 20
)

// Request is a GET request.
type Request struct {
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
	// CA is the authority to trust, in PEM. Empty means none: the server's certificate is not verified.
	CA string `json:"ca"`
}

// Response is what came of it.
type Response struct {
	Code   int         `json:"code"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// Do makes the request.
func (r Request) Do(ctx context.Context) (Response, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if r.CA == "" {
		// The metrics of a default install have a certificate that nobody vouches for.
		transport.TLSClientConfig.InsecureSkipVerify = true
	} else {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(r.CA)) {
			return Response{}, errors.New("the authority is not PEM")
		}
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return Response{}, err
	}
	for name, value := range r.Header {
		request.Header.Set(name, value)
	}
	response, err := (&http.Client{Transport: transport, Timeout: timeout}).Do(request)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Response{}, fmt.Errorf("the response of %s: %w", r.URL, err)
	}
	return Response{response.StatusCode, response.Header, string(body)}, nil
}
