// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fetch serves /fetch, where a receiver that missed a webhook asks for the result by task id: the stored
// payload as it was or will be delivered, to whoever shows the delivery's secret or a Kubernetes token that may get the
// object.
//
// Everyone else learns nothing: a wrong secret, another namespace and a task that never was have the same answer after
// the same time.
package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// maxConnections bounds what strangers can make the operator, which has deliveries to make, spend on connections:
	// about 40 KiB each. HTTP/1.1 alone is served, so it bounds the requests too.
	maxConnections = 512
	// maxUnread bounds the payloads, in bytes, that wait in memory for slow clients to read them.
	maxUnread = 32 << 20

	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 20 * time.Second // from the end of the request's header
	idleTimeout       = 15 * time.Second
	// shutdownTimeout is longer than a request asks the API server.
	shutdownTimeout = lookUpTimeout + 3*time.Second

	// failureLogInterval is the shortest time between two lines about an API server that does not answer.
	failureLogInterval = 10 * time.Second
)

var (
	_ manager.Runnable               = (*Server)(nil)
	_ manager.LeaderElectionRunnable = (*Server)(nil)
	_ http.Handler                   = (*Server)(nil)
)

// Server is the endpoint. It keeps nothing of the objects that it reads.
type Server struct {
	options      Options
	finder       finder
	access       access
	clients      *clients
	slots        chan struct{} // one element for each request that asks the API server
	unread       *semaphore.Weighted
	certificates *certwatcher.CertWatcher
	logger       logr.Logger
	failures     rate.Sometimes
}

// New returns the endpoint, for a manager to run on every replica. config and httpClient are for reviewing tokens, live
// reads from the API server without a cache. It fails if options cannot be served or the certificate cannot be read.
func New(
	config *rest.Config, httpClient *http.Client, live client.Reader, logger logr.Logger, options Options,
) (*Server, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	access, err := newAccess(config, httpClient)
	if err != nil {
		return nil, err
	}
	s := newServer(live, access, logger.WithName("fetch"), options)
	if options.CertFile != "" {
		if s.certificates, err = certwatcher.New(options.CertFile, options.KeyFile); err != nil {
			return nil, fmt.Errorf("reading the certificate of /fetch: %w", err)
		}
	}
	return s, nil
}

func newServer(live client.Reader, access access, logger logr.Logger, options Options) *Server {
	return &Server{
		options: options,
		finder:  finder{live: live, access: access, logger: logger},
		access:  access,
		clients: newClients(options.RequestsPerSecond),
		slots:   make(chan struct{}, options.MaxInFlight),
		unread:  semaphore.NewWeighted(maxUnread),
		logger:  logger, failures: rate.Sometimes{Interval: failureLogInterval},
	}
}

// NeedLeaderElection is false: a standby answers as well.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx is done and the requests in progress have been answered. It fails if it cannot listen.
func (s *Server) Start(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.options.BindAddress)
	if err != nil {
		return fmt.Errorf("serving /fetch: %w", err)
	}
	return s.serve(ctx, listener)
}

func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	listener = netutil.LimitListener(listener, maxConnections)
	if s.certificates != nil {
		listener = tls.NewListener(listener, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: s.certificates.GetCertificate,
			NextProtos:     []string{"http/1.1"},
		})
		group.Go(func() error { return s.certificates.Start(ctx) })
	}
	timeout := shutdownTimeout
	server := &manager.Server{
		Name:     "fetch",
		Listener: listener,
		Server: &http.Server{
			Handler:           s,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          newErrorLog(s.logger),
		},
		ShutdownTimeout: &timeout,
	}
	group.Go(func() error { return server.Start(ctx) })
	return group.Wait()
}
