// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestGuardPermits(t *testing.T) {
	everything := prefixes("0.0.0.0/0", "::/0")
	tests := map[string]struct {
		allow, deny []string
		permitted   []string
		denied      []string
	}{
		"by default": {
			permitted: []string{
				"8.8.8.8", "1.1.1.1", "223.255.255.254", "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8",
			},
			denied: []string{
				// IANA IPv4 special-purpose registry
				"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.255.254", "169.254.1.1",
				"172.16.0.1", "172.31.255.254", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.31.196.1",
				"192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.254", "198.51.100.1",
				"203.0.113.1", "240.0.0.1", "255.255.255.255",
				// multicast
				"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1",
				// IANA IPv6 special-purpose registry
				"::", "::1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1", "2001:1::1", "2001:2::1",
				"2001:3::1", "2001:4:112::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2002:808:808::1", "2620:4f:8000::1",
				"3fff::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fec0::1",
				// outside global unicast
				"4000::1", "::8.8.8.8", "1::1",
				// metadata
				"169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
				// wrapped
				"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1",
				"64:ff9b::127.0.0.1", "2002:7f00:1::1",
			},
		},
		"allowed": {
			allow: []string{"10.96.0.0/12", "fd00:10::/32"},
			permitted: []string{
				"10.96.0.1", "10.111.255.254", "fd00:10::1", "::ffff:10.96.0.1", "8.8.8.8",
			},
			denied: []string{
				"10.95.255.255", "10.112.0.0", "fd00:11::1", "::10.96.0.1", "64:ff9b::10.96.0.1", "2002:a60:1::1",
				"fd00:10::1%eth0",
			},
		},
		"denied wins over allowed": {
			allow:     []string{"10.0.0.0/8", "fd00::/8"},
			deny:      []string{"10.96.0.1/32", "fd00::1/128", "8.8.8.0/24"},
			permitted: []string{"10.96.0.2", "fd00::2", "8.8.4.4"},
			denied:    []string{"10.96.0.1", "::ffff:10.96.0.1", "fd00::1", "8.8.8.8", "::ffff:8.8.8.8"},
		},
		"everything allowed": {
			allow: []string{"0.0.0.0/0", "::/0"},
			deny:  []string{"10.96.0.1/32"},
			permitted: []string{
				"127.0.0.1", "::1", "10.0.0.1", "fe80::1", "64:ff9b::127.0.0.1", "169.254.1.1", "::", "::10.0.0.1",
			},
			denied: []string{
				"169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
				"169.254.0.23", "169.254.42.42",
				"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:c1::a9fe:a9fe",
				"::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254", "64:ff9b::169.254.169.254",
				"64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1",
				"10.96.0.1", "64:ff9b::10.96.0.1", "::10.96.0.1", "2002:a60:1::",
				"fe80::1%eth0", "::1%lo", "::ffff:127.0.0.1%lo",
			},
		},
		"a translator allowed, by the IPv4 address it leads to": {
			allow: []string{"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96"},
			permitted: []string{
				"64:ff9b::8.8.8.8",
				"64:ff9b:1::8.8.8.8",        // prefix of /96
				"64:ff9b:1:808:8:800::",     // of /48
				"64:ff9b:1:8:8:808::",       // of /56
				"64:ff9b:1:0:8:808:800::",   // of /64
				"2002:808:808::1",           // 6to4
				"2001:0:808:808::f7f7:f7f7", // Teredo, server and client 8.8.8.8
				"::8.8.8.8", "::ffff:0:8.8.8.8",
			},
			denied: []string{
				"64:ff9b::10.0.0.1", "64:ff9b::0.0.0.0", "64:ff9b:1::10.0.0.1",
				"64:ff9b:1:a00:0:100::", "64:ff9b:1:7f00:0:100::", "64:ff9b:1:7f00:0:100:0:1", // 127.0.0.1, of /48
				"64:ff9b:1:7f:0:1::", "64:ff9b:1:0:7f:0:100::", // 127.0.0.1, of /56 and /64
				"2002:7f00:1::1", "2002:a9fe:a9fe::1",
				"2001:0:808:808::80ff:fffe", // Teredo, client 127.0.0.1
				"2001:0:7f00:1::f7f7:f7f7",  // Teredo, server 127.0.0.1
				"::127.0.0.1", "::ffff:0:127.0.0.1",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGuard(DefaultPorts, prefixes(tt.allow...), prefixes(tt.deny...))
			for _, ip := range tt.permitted {
				if !g.permits(netip.MustParseAddr(ip)) {
					t.Errorf("%s is denied", ip)
				}
			}
			for _, ip := range tt.denied {
				if g.permits(netip.MustParseAddr(ip)) {
					t.Errorf("%s is permitted", ip)
				}
			}
		})
	}
	if g := newGuard(DefaultPorts, everything, nil); g.permits(netip.Addr{}) {
		t.Error("the invalid address is permitted")
	}
}

func TestGuardPermitsDial(t *testing.T) {
	tests := map[string]struct {
		network, address string
		want             bool
	}{
		"IPv4":                {"tcp4", "8.8.8.8:443", true},
		"IPv6":                {"tcp6", "[2606:4700::1111]:8443", true},
		"UDP":                 {"udp4", "8.8.8.8:443", false},
		"Unix":                {"unix", "/run/containerd.sock", false},
		"unresolved network":  {"tcp", "8.8.8.8:443", false},
		"name":                {"tcp4", "dns.google:443", false},
		"no port":             {"tcp4", "8.8.8.8", false},
		"port 0":              {"tcp4", "8.8.8.8:0", false},
		"closed port":         {"tcp4", "8.8.8.8:22", false},
		"kubelet":             {"tcp4", "8.8.8.8:10250", false},
		"etcd":                {"tcp4", "8.8.8.8:2379", false},
		"API server":          {"tcp4", "8.8.8.8:6443", false},
		"port too large":      {"tcp4", "8.8.8.8:65979", false},
		"zone":                {"tcp6", "[fe80::1%eth0]:443", false},
		"loopback":            {"tcp4", "127.0.0.1:443", false},
		"nothing":             {"", "", false},
		"shortened":           {"tcp4", "127.1:443", false},
		"leading zeros":       {"tcp4", "010.0.0.1:443", false},
		"mapped":              {"tcp6", "[::ffff:127.0.0.1]:443", false},
		"mapped, hexadecimal": {"tcp6", "[::ffff:7f00:1]:443", false},
	}
	g := newGuard(DefaultPorts, nil, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := g.permitsDial(tt.network, tt.address); got != tt.want {
				t.Errorf("permitsDial(%q, %q) = %t, want %t", tt.network, tt.address, got, tt.want)
			}
			err := g.control(t.Context(), tt.network, tt.address, nil)
			if (err == nil) != tt.want {
				t.Errorf("control(%q, %q) = %v, want permitted %t", tt.network, tt.address, err, tt.want)
			}
		})
	}
}

// wrappings are the notations in which an IPv4 address can stand in an IPv6 one.
var wrappings = map[string]func(v4 [4]byte) [16]byte{
	"mapped":      func(b [4]byte) [16]byte { return at("::ffff:0:0", 12, b) },
	"compatible":  func(b [4]byte) [16]byte { return at("::", 12, b) },
	"translated":  func(b [4]byte) [16]byte { return at("::ffff:0:0:0", 12, b) },
	"NAT64":       func(b [4]byte) [16]byte { return at("64:ff9b::", 12, b) },
	"NAT64 local": func(b [4]byte) [16]byte { return at("64:ff9b:1::", 12, b) },
	"6to4":        func(b [4]byte) [16]byte { return at("2002::1", 2, b) },
	"Teredo server": func(b [4]byte) [16]byte {
		return at("2001::f7f7:f7f7", 4, b)
	},
	"Teredo client": func(b [4]byte) [16]byte {
		return at("2001:0:808:808::", 12, [4]byte{^b[0], ^b[1], ^b[2], ^b[3]})
	},
	"NAT64 local /48": func(b [4]byte) [16]byte {
		ip := at("64:ff9b:1::", 6, [4]byte{b[0], b[1], 0, b[2]})
		ip[10] = b[3]
		return ip
	},
	"NAT64 local /56": func(b [4]byte) [16]byte { return at("64:ff9b:1::", 7, [4]byte{b[0], 0, b[1], b[2]}, b[3]) },
	"NAT64 local /64": func(b [4]byte) [16]byte { return at("64:ff9b:1::", 9, b) },
}

func at(prefix string, offset int, b [4]byte, more ...byte) [16]byte {
	ip := netip.MustParseAddr(prefix).As16()
	copy(ip[offset:], append(b[:], more...))
	return ip
}

// FuzzGuard checks that what is denied as an IPv4 address is denied in every wrapping, whatever else is open, and that
// nothing is permitted which the standard library knows not to be public.
func FuzzGuard(f *testing.F) {
	for _, ip := range []string{
		"127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "8.8.8.8", "0.0.0.0", "100.64.0.1", "224.0.0.1",
		"192.0.0.192", "255.255.255.255", "172.31.0.1", "198.18.0.1",
	} {
		v4 := netip.MustParseAddr(ip).As4()
		f.Add(binary.BigEndian.Uint32(v4[:]), "tcp4", ip+":443", netip.MustParseAddr("::ffff:"+ip).AsSlice())
	}
	f.Add(uint32(1), "tcp6", "[fe80::1%25eth0]:443", netip.MustParseAddr("fd00:ec2::254").AsSlice())
	f.Add(uint32(1), "tcp6", "[::ffff:7f00:1]:65535", netip.MustParseAddr("64:ff9b:1:7f00:0:100::").AsSlice())
	closed := newGuard(DefaultPorts, nil, nil)
	open := newGuard(DefaultPorts, prefixes("::/0"), nil) // all IPv6, and of IPv4 what is open by default
	f.Fuzz(func(t *testing.T, number uint32, network, address string, raw []byte) {
		b := [4]byte(binary.BigEndian.AppendUint32(nil, number))
		v4 := netip.AddrFrom4(b)
		expectNotPublic(t, closed, v4)
		for name, wrap := range wrappings {
			ip := netip.AddrFrom16(wrap(b))
			special := ip.IsUnspecified() || ip.IsLoopback() // ::0.0.0.0 and ::0.0.0.1
			ignored := b[0] == 0 && strings.HasPrefix(name, "NAT64 local")
			if !closed.permits(v4) && open.permits(ip) && !special && !ignored {
				t.Errorf("%s is denied, but permitted as %s (%s)", v4, ip, name)
			}
			expectNotPublic(t, closed, ip)
		}
		if ip, ok := netip.AddrFromSlice(raw); ok {
			expectNotPublic(t, closed, ip)
		}
		if closed.permitsDial(network, address) {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !strings.HasPrefix(network, "tcp") || to.Port() == 0 {
				t.Errorf("permitsDial(%q, %q)", network, address)
			}
			expectNotPublic(t, closed, to.Addr())
		}
	})
}

// expectNotPublic uses only what net/netip knows, as a second opinion.
func expectNotPublic(t *testing.T, g *guard, ip netip.Addr) {
	t.Helper()
	seen := ip.Unmap()
	public := seen.IsGlobalUnicast() && !seen.IsPrivate() && seen.Zone() == "" && !slices.Contains(metadata, seen)
	if g.permits(ip) && !public {
		t.Errorf("%s is permitted", ip)
	}
}
