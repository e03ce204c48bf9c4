// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"net/netip"
	"net/url"
	"strings"
)

// target is where a URL leads.
type target struct {
	url *url.URL
	// host is the URL's host without brackets and port.
	host string
	// addr is the host where that is an IP address, and invalid where it is a name.
	addr netip.Addr
	port uint16
}

// parseTarget checks that raw is an absolute URL which net/http, any proxy and a reader understand alike: in plain
// ASCII, with a host, without user information. It returns the class and message of the failure where it is not.
func parseTarget(raw string, allowHTTP bool) (target, Class, string) {
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return target{}, InvalidURL, "the URL must be plain ASCII without spaces: write an international host name in its " +
			"xn-- form and percent-encode the rest"
	}
	u, err := url.Parse(raw)
	if err != nil { // its text quotes the URL
		return target{}, InvalidURL, "the URL cannot be parsed"
	}
	t := target{url: u, host: u.Hostname(), port: 443}
	switch u.Scheme {
	case "https":
	case "http":
		if !allowHTTP {
			return target{}, InsecureURL, "the URL must be https"
		}
		t.port = 80
	default:
		return target{}, InvalidURL, "the URL must be absolute and https"
	}
	if u.User != nil {
		return target{}, InvalidURL, "the URL must not contain user information"
	}
	if port := u.Port(); port != "" {
		if t.port = parsePort(port); t.port == 0 {
			return target{}, InvalidURL, "the port of the URL must be from 1 to 65535"
		}
	}
	u.Host = strings.TrimSuffix(u.Host, ":")
	if t.addr, err = netip.ParseAddr(t.host); err == nil {
		if bracketed := strings.HasPrefix(u.Host, "["); bracketed != t.addr.Is6() || t.addr.Zone() != "" {
			return target{}, InvalidURL, "the host of the URL is not a valid IP address"
		}
		return t, "", ""
	}
	if !validHostName(t.host) {
		return target{}, InvalidURL, "the URL has no valid host"
	}
	return t, "", ""
}

// validHostName accepts DNS names, with underscores and a trailing dot, whose last label is not a number: inet_aton(3),
// and with it some resolvers and proxies, read 127.1, 0x7f.1 and 2130706433 as addresses
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func validHostName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if len(host) > 253 {
		return false
	}
	var label string
	for label = range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.IndexFunc(label, isNotNameRune) >= 0 {
			return false
		}
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") != ""
	}
	return strings.Trim(label, "0123456789") != ""
}

func isNotNameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}
