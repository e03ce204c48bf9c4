// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
)

// Options are what the administrator decides about the endpoint.
type Options struct {
	// BindAddress is the host:port to listen on. Empty or "0": there is no endpoint.
	BindAddress string
	// CertFile and KeyFile are PEM files with the endpoint's certificate and key. They are read again when they change.
	// Both are empty behind a sidecar that terminates TLS; BindAddress must be a loopback address then.
	CertFile, KeyFile string
	// RequestsPerSecond is how many requests a client may make each second, averaged, and at once. A client is an IPv4
	// address or an IPv6 /64 network as the connection shows it. Behind a proxy or a Service that hides addresses, all
	// clients together are one.
	RequestsPerSecond float64
	// MaxInFlight is how many requests may ask the API server at the same time.
	MaxInFlight int
}

// DefaultOptions have no endpoint, and limits for one that faces the internet.
func DefaultOptions() Options {
	return Options{RequestsPerSecond: 10, MaxInFlight: 16}
}

// Bind declares the endpoint's flags. Their defaults are the values that o has.
func (o *Options) Bind(f *flag.FlagSet) {
	f.StringVar(&o.BindAddress, "fetch-bind-address", o.BindAddress,
		"address to serve /fetch on, by HTTPS unless it is a loopback address (default none)")
	f.StringVar(&o.CertFile, "fetch-cert-file", o.CertFile,
		"PEM file with the certificate of /fetch; read again when it changes")
	f.StringVar(&o.KeyFile, "fetch-key-file", o.KeyFile, "PEM file with the key of --fetch-cert-file")
	f.Float64Var(&o.RequestsPerSecond, "fetch-requests-per-second", o.RequestsPerSecond,
		"requests that one client address may make of /fetch each second")
	f.IntVar(&o.MaxInFlight, "fetch-max-in-flight", o.MaxInFlight,
		"requests of /fetch that may ask the API server at the same time")
}

// Enabled reports whether there is to be an endpoint.
func (o Options) Enabled() bool { return o.BindAddress != "" && o.BindAddress != "0" }

// Validate returns an error that says what to change when the endpoint cannot be served like this.
func (o Options) Validate() error {
	host, _, err := net.SplitHostPort(o.BindAddress)
	switch {
	case !o.Enabled():
		return errors.New("--fetch-bind-address is not set: there is nothing to serve")
	case err != nil:
		return fmt.Errorf("--fetch-bind-address must be host:port, or :port for every address: %w", err)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("--fetch-cert-file and --fetch-key-file belong together: set both")
	case o.CertFile == "" && !isLoopback(host):
		return fmt.Errorf("--fetch-bind-address is %q, where secrets would cross the network in plain text: "+
			"set --fetch-cert-file and --fetch-key-file, or bind to a loopback address such as 127.0.0.1:8090 "+
			"for a sidecar that terminates TLS", o.BindAddress)
	case !(o.RequestsPerSecond > 0): // NaN is not
		return fmt.Errorf("--fetch-requests-per-second is %v, but must be more than 0", o.RequestsPerSecond)
	case o.MaxInFlight < 1:
		return fmt.Errorf("--fetch-max-in-flight is %d, but must be at least 1", o.MaxInFlight)
	}
	return nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}
