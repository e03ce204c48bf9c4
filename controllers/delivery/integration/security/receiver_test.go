// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// responseMarker is in every response, in the body and in a header, together with what the receiver was sent.
const responseMarker = "response-bodies-are-nobodys-business"

// listener counts the connections that were made to it.
type listener struct {
	net.Listener
	accepted atomic.Int32
}

// listen opens a free port of the loopback interface.
func listen(ctx context.Context) (*listener, error) {
	inner, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return &listener{Listener: inner}, err
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

// refuseAll closes every connection as soon as it is made.
func (l *listener) refuseAll() {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// request is one that a receiver has seen.
type request struct {
	header http.Header
	body   []byte
	client string // the common name in the client's certificate
}

// receiver is a receiver that tells what it saw, and answers as the last element of the URL's path says.
type receiver struct {
	*listener
	mu   sync.Mutex
	byID map[string][]request
}

func startReceiver(ctx context.Context, a, clients *authority, hosts ...string) (*receiver, error) {
	config, err := a.serverConfig(clients, hosts...)
	if err != nil {
		return nil, err
	}
	r := &receiver{byID: map[string][]request{}}
	if r.listener, err = listen(ctx); err != nil {
		return nil, err
	}
	go serve(tls.NewListener(r.listener, config), r)
	return r, nil
}

// serve serves until the process ends.
func serve(l net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	_ = server.Serve(l)
}

func (r *receiver) url(path string) string { return "https://" + r.Addr().String() + path }

// requests are those with the webhook-id, in order of arrival.
func (r *receiver) requests(id string) []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}

func (r *receiver) all() (all []request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, requests := range r.byID {
		all = append(all, requests...)
	}
	return all
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	saw := request{header: req.Header.Clone(), body: body}
	if peers := req.TLS.PeerCertificates; len(peers) > 0 {
		saw.client = peers[0].Subject.CommonName
	}
	id := req.Header.Get("Webhook-Id")
	r.mu.Lock()
	r.byID[id] = append(r.byID[id], saw)
	r.mu.Unlock()
	echo := strings.Join([]string{responseMarker, req.URL.RawQuery, req.Header.Get("X-Webhook-Secret"),
		req.Header.Get("Webhook-Signature"), string(body)}, " ")
	answer(w, req, echo)
}

// raw are responses that net/http's server would not give; %s stands for an echo of the request.
var raw = map[string]string{
	"/reason":        "HTTP/1.1 500 %s\r\nConnection: close\r\n\r\n",
	"/not-http":      "%s\r\n\r\n",
	"/bad-header":    "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
	"/bad-status":    "HTTP/1.1 %s\r\n\r\n",
	"/large-header":  "HTTP/1.1 200 OK\r\nX-Echo: %s" + strings.Repeat("x", 1<<20) + "\r\n\r\n",
	"/broken-off":    "HTTP/1.1 200 OK\r\nX-Echo: %s",
	"/broken-body":   "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n%s",
	"/broken-chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n%s\r\n",
	"/unsolicited":   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n%s",
}

// statuses are the answers that consist of a status.
var statuses = map[string]int{"/ok": 200, "/302": 302, "/401": 401, "/429": 429, "/500": 500}

func answer(w http.ResponseWriter, req *http.Request, echo string) {
	if format, ok := raw[req.URL.Path]; ok {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, strings.Replace(format, "%s", echo, 1))
		return
	}
	if req.URL.Path == "/hang" {
		<-req.Context().Done()
		return
	}
	w.Header().Set("X-Echo", echo)
	w.Header().Set("Location", "https://receiver.example/?"+echo)
	w.Header().Set("Retry-After", echo)
	w.WriteHeader(statuses[req.URL.Path])
	_, _ = io.WriteString(w, echo)
}
