// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Defaults of a Config's limits.
const (
	DefaultMaxConnsPerEndpoint = 64
	DefaultMaxIdleConns        = 1024
)

// Config is what the administrator decides.
type Config struct {
	// RequestTimeout is one deadline over name resolution, connect, TLS, request and response header. Required.
	RequestTimeout time.Duration
	// UserAgent is the User-Agent header. Required.
	UserAgent string
	// AllowHTTP accepts http URLs, which show the secret to the network.
	AllowHTTP bool

	// CABundleFile names a file of PEM certificates of authorities to trust beside the system's. It is read again when it
	// changes; while its new content is unusable, the authorities from before stay.
	CABundleFile string
	// OnReloadError is told, once for each change, why the new content of CABundleFile is not used. Required with
	// CABundleFile. It is called by the goroutine of a Send, and must not block.
	OnReloadError func(error)

	// EgressProxy, of scheme http or https, is asked by CONNECT for every connection. It resolves the names and is
	// expected to guard the addresses; here only ports and literal addresses are judged. Proxies in the environment are
	// never used.
	EgressProxy *url.URL
	// AllowCIDRs opens ranges that are closed by default, DenyCIDRs closes ranges and wins. The metadata addresses of
	// clouds stay closed in any case.
	AllowCIDRs, DenyCIDRs []netip.Prefix
	// AllowedPorts are the ports that may be connected to, DefaultPortsFor AllowHTTP if empty.
	AllowedPorts Ports

	// MaxConnsPerEndpoint bounds the open connections to one scheme, host and port; a Send beyond it waits, inside its
	// deadline. 0 is DefaultMaxConnsPerEndpoint.
	MaxConnsPerEndpoint int
	// MaxIdleConns bounds the connections kept for reuse over all endpoints, and again those of requests with TLS
	// material. 0 is DefaultMaxIdleConns.
	MaxIdleConns int

	// OnConnection, if set, is told of each connection that a request is given, and whether an earlier request has left
	// it. It is called by the goroutine of a Send, and must not block.
	OnConnection func(reused bool)

	// Dialer makes the connections. If nil, it is a net.Dialer under the address guard; any other is not guarded.
	Dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}
	// Resolver is used by the net.Dialer. nil is the system's.
	Resolver *net.Resolver
}

// complete returns the configuration with its defaults, or what is wrong with it.
func (c Config) complete() (Config, error) {
	if len(c.AllowedPorts.ranges) == 0 {
		c.AllowedPorts = DefaultPortsFor(c.AllowHTTP)
	}
	if c.MaxConnsPerEndpoint == 0 {
		c.MaxConnsPerEndpoint = DefaultMaxConnsPerEndpoint
	}
	if c.MaxIdleConns == 0 {
		c.MaxIdleConns = DefaultMaxIdleConns
	}
	if c.OnConnection == nil {
		c.OnConnection = func(bool) {}
	}
	switch {
	case c.RequestTimeout <= 0:
		return c, fmt.Errorf("request timeout %s: set one above 0, for example 10s", c.RequestTimeout)
	case c.UserAgent == "" || !httpguts.ValidHeaderFieldValue(c.UserAgent):
		return c, fmt.Errorf("user agent %q: set one line of text, for example webhook-delivery-operator/1.0", c.UserAgent)
	case c.MaxConnsPerEndpoint < 0 || c.MaxIdleConns < 0:
		return c, fmt.Errorf("connections per endpoint %d and idle connections %d: set neither below 0",
			c.MaxConnsPerEndpoint, c.MaxIdleConns)
	case c.CABundleFile != "" && c.OnReloadError == nil:
		return c, errors.New("CA bundle: set OnReloadError too, or a broken new bundle would go unnoticed")
	}
	return c, errors.Join(
		checkProxy(c.EgressProxy), checkPrefixes("allow", c.AllowCIDRs), checkPrefixes("deny", c.DenyCIDRs))
}

// checkProxy does not quote the URL: it may hold a password.
func checkProxy(proxy *url.URL) error {
	switch {
	case proxy == nil:
		return nil
	case proxy.Scheme != "http" && proxy.Scheme != "https",
		!validHostName(proxy.Hostname()) && !isAddress(proxy.Hostname()),
		proxy.Port() != "" && parsePort(proxy.Port()) == 0,
		proxy.Path != "" && proxy.Path != "/", proxy.RawQuery != "", proxy.Fragment != "":
		return errors.New("egress proxy: write http://host:port or https://host:port, with nothing after the port")
	default:
		return nil
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func checkPrefixes(kind string, prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("CIDR %s to %s: write for example 10.0.0.0/8 or fd00::/8, and IPv4 ranges as IPv4", p, kind)
		}
	}
	return nil
}
