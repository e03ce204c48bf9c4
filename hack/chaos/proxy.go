// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// proxy stands between the operator and the API server, and acts for the operator's user.
type proxy struct {
	server   *http.Server
	listener net.Listener
	forward  *httputil.ReverseProxy

	failing atomic.Bool
	lag     atomic.Int64

	mu      sync.Mutex
	watches map[context.Context]context.CancelFunc
}

func startProxy(user *rest.Config) (*proxy, error) {
	transport, err := rest.TransportFor(user)
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(user.Host)
	if err != nil {
		return nil, err
	}
	p := &proxy{watches: map[context.Context]context.CancelFunc{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:     transport,
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			if isWatch(resp.Request) {
				resp.Body = delay(resp.Request.Context(), resp.Body, &p.lag)
			}
			return nil
		},
		// An API server that is away does not answer at all.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0), // what was cut complains there
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	if p.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() { _ = p.server.Serve(p.listener) }() // ends with ErrServerClosed
	return p, nil
}

// kubeconfig writes a kubeconfig that leads through the proxy.
func (p *proxy) kubeconfig(dir string) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: "http://" + p.listener.Addr().String()}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	config.CurrentContext = "proxy"
	path := filepath.Join(dir, "proxy.kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

func (p *proxy) failWrites(on bool)            { p.failing.Store(on) }
func (p *proxy) delayWatches(by time.Duration) { p.lag.Store(int64(by)) }

// cutWatches breaks the watches that are open.
func (p *proxy) cutWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cut := range p.watches {
		cut()
	}
}

func (p *proxy) close() error { return p.server.Close() }

// ServeHTTP forwards a request, unless a fault is in force for it.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.failing.Load() && isStatusWrite(r) {
		draw := rand.IntN(1000) //nolint:gosec // faults guard nothing
		if fault := faultFor(draw); fault != none {
			p.fail(w, r, fault)
			return
		}
	}
	if isWatch(r) {
		ctx, cut := context.WithCancel(r.Context())
		p.mu.Lock()
		p.watches[ctx] = cut
		p.mu.Unlock()
		defer func() {
			cut()
			p.mu.Lock()
			delete(p.watches, ctx)
			p.mu.Unlock()
		}()
		r = r.WithContext(ctx)
	}
	p.forward.ServeHTTP(w, r)
}

// What can go wrong with a write, beside the status codes that it may be answered with.
const (
	none       = 0
	answerLost = -1 // it goes through, and its answer is lost
	noAnswer   = -2 // it does not go through, and is not answered
)

// faultFor spreads faults over the numbers from 0 to 999: about a third of all writes meets one. Few are left without
// an answer, as each of them holds up one of the operator's workers until its own time is up.
func faultFor(n int) int {
	faults := []int{http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusServiceUnavailable, answerLost}
	switch {
	case n < 65*len(faults):
		return faults[n/65]
	case n < 65*len(faults)+5:
		return noAnswer
	}
	return none
}

// fail answers a write as an API server in trouble does.
func (p *proxy) fail(w http.ResponseWriter, r *http.Request, fault int) {
	switch fault {
	case answerLost:
		p.forward.ServeHTTP(&lostAnswer{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case noAnswer:
		_, _ = io.Copy(io.Discard, r.Body) // the server notices that a client has gone only once the body is read
		<-r.Context().Done()
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(fault)
	default:
		w.WriteHeader(fault)
	}
}

// lostAnswer is where an answer goes that never arrives.
type lostAnswer struct{ header http.Header }

func (l *lostAnswer) Header() http.Header            { return l.header }
func (l *lostAnswer) Write(data []byte) (int, error) { return len(data), nil }
func (l *lostAnswer) WriteHeader(int)                {}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

func isStatusWrite(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status")
}
