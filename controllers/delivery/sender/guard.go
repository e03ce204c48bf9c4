// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"code.dny.dev/ssrf"
)

// maxAddresses bounds how many addresses of one name are tried, so that a name with thousands of them does not make
// the operator scan them.
const maxAddresses = 64

var (
	// errAddressDenied says no more than its text, whatever was denied and why: it must not tell who chose the name
	// what the name resolves to inside the cluster.
	errAddressDenied    = errors.New("policy permits no address of the host")
	errTooManyAddresses = errors.New("the host has too many addresses")
	errUnreachable      = errors.New("no permitted address of the host could be reached")
)

// metadata are the addresses at which clouds hand out credentials. They are denied even inside an allowed range.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"),    // AWS, Azure, Google, OpenStack and others
	netip.MustParseAddr("169.254.170.2"),      // AWS ECS task credentials
	netip.MustParseAddr("169.254.170.23"),     // AWS EKS Pod Identity
	netip.MustParseAddr("169.254.0.23"),       // Tencent
	netip.MustParseAddr("169.254.42.42"),      // Scaleway
	netip.MustParseAddr("168.63.129.16"),      // Azure WireServer
	netip.MustParseAddr("192.0.0.192"),        // Oracle
	netip.MustParseAddr("100.100.100.200"),    // Alibaba
	netip.MustParseAddr("fd00:ec2::254"),      // AWS
	netip.MustParseAddr("fd00:ec2::23"),       // AWS EKS Pod Identity
	netip.MustParseAddr("fd20:ce::254"),       // Google
	netip.MustParseAddr("fd00:42::42"),        // Scaleway
	netip.MustParseAddr("fd00:a9fe:a9fe::1"),  // Akamai (Linode)
	netip.MustParseAddr("fd00:c1::a9fe:a9fe"), // Oracle
}

// guard decides to which addresses a connection may be made. By default these are the global unicast ones that no IANA
// special-purpose registry lists (RFC 6890).
type guard struct {
	special     *ssrf.Guardian
	ports       Ports
	allow, deny []netip.Prefix
}

func newGuard(ports Ports, allow, deny []netip.Prefix) *guard {
	return &guard{special: ssrf.New(ssrf.WithAnyPort()), ports: ports, allow: allow, deny: deny}
}

// permits judges an address together with the IPv4 addresses wrapped in it, each of which must be permitted by itself:
// a translator or tunnel on the way would connect there.
func (g *guard) permits(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	return g.permitsOne(ip) && !slices.ContainsFunc(wrapped(ip), func(v4 netip.Addr) bool { return !g.permitsOne(v4) })
}

func (g *guard) permitsOne(ip netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.Contains(metadata, ip) || slices.ContainsFunc(g.deny, contains) {
		return false
	}
	return slices.ContainsFunc(g.allow, contains) || g.special.SafeAddr(ip) == nil
}

// permitsDial judges what net.Dialer is about to connect to. What it cannot read it denies.
func (g *guard) permitsDial(network, address string) bool {
	to, err := netip.ParseAddrPort(address)
	return err == nil && (network == "tcp4" || network == "tcp6") && g.ports.contains(to.Port()) && g.permits(to.Addr())
}

// dialRecord counts the addresses that the guard judged during one dial, over both address families.
type dialRecord struct {
	denied, permitted atomic.Int32
}

type dialRecordKey struct{}

// control is a net.Dialer's ControlContext: it runs after name resolution and before each connect.
func (g *guard) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	record, ok := ctx.Value(dialRecordKey{}).(*dialRecord)
	if !ok {
		record = &dialRecord{}
	}
	if !g.permitsDial(network, address) {
		record.denied.Add(1)
		return errAddressDenied
	}
	if record.permitted.Add(1) > maxAddresses {
		return errTooManyAddresses
	}
	return nil
}

// guardedDialer is a net.Dialer under a guard.
type guardedDialer struct {
	net.Dialer
}

// DialContext returns errAddressDenied where every address was denied. Where one was permitted, what became of that one
// is the answer: net.Dialer alone would return the error of the first address, denied or not.
func (d *guardedDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	record := &dialRecord{}
	conn, err := d.Dialer.DialContext(context.WithValue(ctx, dialRecordKey{}, record), network, address)
	switch {
	case err == nil:
		return conn, nil
	case record.denied.Load() == 0:
		return nil, err
	case record.permitted.Load() == 0:
		return nil, errAddressDenied
	case errors.Is(err, errAddressDenied):
		return nil, errUnreachable
	default:
		return nil, err
	}
}
