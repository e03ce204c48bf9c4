// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"net/netip"
	"slices"
)

var (
	ipv4Compatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	ipv4Translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, section 2.1
	nat64          = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, section 2.1
	nat64Local     = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	teredo         = netip.MustParsePrefix("2001::/32")       // RFC 4380, section 4
	sixToFour      = netip.MustParsePrefix("2002::/16")       // RFC 3056, section 2
)

// wrapped returns the IPv4 addresses that an IPv6 address carries for a translator or tunnel to connect to. IPv4-mapped
// addresses are not among them: those are IPv4 addresses in another notation, see netip.Addr.Unmap.
func wrapped(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	switch {
	case nat64.Contains(ip), ipv4Translated.Contains(ip):
		return []netip.Addr{v4(b[12:])}
	case ipv4Compatible.Contains(ip):
		if ip.IsUnspecified() || ip.IsLoopback() { // in the range, but not of that kind
			return nil
		}
		return []netip.Addr{v4(b[12:])}
	case nat64Local.Contains(ip):
		return wrappedLocally(b)
	case teredo.Contains(ip): // the server, and the client with its bits inverted
		return []netip.Addr{v4(b[4:8]), v4([]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case sixToFour.Contains(ip):
		return []netip.Addr{v4(b[2:6])}
	default:
		return nil
	}
}

// wrappedLocally returns every IPv4 address that an address in 64:ff9b:1::/48 may carry. Where it stands depends on the
// length of the prefix that a site uses inside that range, which cannot be known (RFC 6052, section 2.2: /48, /56, /64
// and /96). Readings in 0.0.0.0/8, to which nothing connects, come from the zeros around the address and are left out.
func wrappedLocally(b [16]byte) []netip.Addr {
	readings := []netip.Addr{
		v4([]byte{b[6], b[7], b[9], b[10]}), v4([]byte{b[7], b[9], b[10], b[11]}), v4(b[9:13]), v4(b[12:]),
	}
	return slices.DeleteFunc(readings, func(ip netip.Addr) bool { return ip.As4()[0] == 0 })
}

func v4(b []byte) netip.Addr {
	return netip.AddrFrom4([4]byte(b))
}
