// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseTarget(t *testing.T) {
	tests := map[string]struct {
		url  string
		http bool // allowed
		want Class
		host string
		port uint16
	}{
		"plain":               {url: "https://receiver.example/hook?a=b", host: "receiver.example", port: 443},
		"port":                {url: "https://receiver.example:8443/", host: "receiver.example", port: 8443},
		"empty port":          {url: "https://receiver.example:/", host: "receiver.example", port: 443},
		"no path":             {url: "https://receiver.example", host: "receiver.example", port: 443},
		"upper case":          {url: "HTTPS://Receiver.Example/", host: "Receiver.Example", port: 443},
		"trailing dot":        {url: "https://receiver.example./", host: "receiver.example.", port: 443},
		"underscore":          {url: "https://my_receiver.example/", host: "my_receiver.example", port: 443},
		"single label":        {url: "https://receiver/", host: "receiver", port: 443},
		"digits in a label":   {url: "https://1.2.3.4.sslip.io/", host: "1.2.3.4.sslip.io", port: 443},
		"digit in front":      {url: "https://receiver.3scale/", host: "receiver.3scale", port: 443},
		"IPv4":                {url: "https://192.0.2.1/", host: "192.0.2.1", port: 443},
		"IPv6":                {url: "https://[2001:db8::1]:8443/", host: "2001:db8::1", port: 8443},
		"http allowed":        {url: "http://receiver.example/", http: true, host: "receiver.example", port: 80},
		"fragment":            {url: "https://receiver.example/#part", host: "receiver.example", port: 443},
		"http":                {url: "http://receiver.example/", want: InsecureURL},
		"other scheme":        {url: "ftp://receiver.example/", http: true, want: InvalidURL},
		"file":                {url: "file:///etc/passwd", http: true, want: InvalidURL},
		"relative":            {url: "/hook", want: InvalidURL},
		"scheme-relative":     {url: "//receiver.example/", want: InvalidURL},
		"opaque":              {url: "https:receiver.example", want: InvalidURL},
		"empty":               {url: "", want: InvalidURL},
		"no host":             {url: "https:///hook", want: InvalidURL},
		"port only":           {url: "https://:443/", want: InvalidURL},
		"user":                {url: "https://user@receiver.example/", want: InvalidURL},
		"user and password":   {url: "https://user:pw@receiver.example/", want: InvalidURL},
		"empty user":          {url: "https://@receiver.example/", want: InvalidURL},
		"port 0":              {url: "https://receiver.example:0/", want: InvalidURL},
		"port too large":      {url: "https://receiver.example:65536/", want: InvalidURL},
		"port far too large":  {url: "https://receiver.example:4294967739/", want: InvalidURL},
		"leading zero":        {url: "https://receiver.example:0443/", want: InvalidURL},
		"negative port":       {url: "https://receiver.example:-1/", want: InvalidURL},
		"service name":        {url: "https://receiver.example:https/", want: InvalidURL},
		"shortened IPv4":      {url: "https://127.1/", want: InvalidURL},
		"hexadecimal IPv4":    {url: "https://0x7f000001/", want: InvalidURL},
		"upper case 0X":       {url: "https://0X7F000001/", want: InvalidURL},
		"0x alone":            {url: "https://127.0.0.0x/", want: InvalidURL},
		"hexadecimal part":    {url: "https://127.0.0.0x1/", want: InvalidURL},
		"octal IPv4":          {url: "https://0177.0.0.1/", want: InvalidURL},
		"decimal IPv4":        {url: "https://2130706433/", want: InvalidURL},
		"IPv4 and a dot":      {url: "https://127.0.0.1./", want: InvalidURL},
		"IPv4 in brackets":    {url: "https://[127.0.0.1]/", want: InvalidURL},
		"name in brackets":    {url: "https://[receiver.example]/", want: InvalidURL},
		"zone":                {url: "https://[fe80::1%25eth0]/", want: InvalidURL},
		"full-width digits":   {url: "https://１２７.０.０.１/", want: InvalidURL},
		"escaped host":        {url: "https://%31%32%37.0.0.1/", want: InvalidURL},
		"escaped, not ASCII":  {url: "https://%EF%BC%91.example/", want: InvalidURL},
		"ideographic dot":     {url: "https://receiver。example/", want: InvalidURL},
		"backslash":           {url: `https://receiver.example\@127.0.0.1/`, want: InvalidURL},
		"space":               {url: "https://receiver.example/a b", want: InvalidURL},
		"line break":          {url: "https://receiver.example/\r\nx-injected: 1", want: InvalidURL},
		"tab in the scheme":   {url: "ht\ttps://receiver.example/", want: InvalidURL},
		"empty label":         {url: "https://receiver..example/", want: InvalidURL},
		"only a dot":          {url: "https://./", want: InvalidURL},
		"label too long":      {url: "https://" + strings.Repeat("a", 64) + ".example/", want: InvalidURL},
		"name too long":       {url: "https://" + strings.Repeat("a.", 127) + "example/", want: InvalidURL},
		"invalid escape":      {url: "https://receiver.example/%zz", want: InvalidURL},
		"two ports":           {url: "https://receiver.example:80:443/", want: InvalidURL},
		"unbracketed IPv6":    {url: "https://::1/", want: InvalidURL},
		"asterisk in a label": {url: "https://*.example/", want: InvalidURL},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to, class, message := parseTarget(tt.url, tt.http)
			if class != tt.want {
				t.Fatalf("class %q (%s), want %q", class, message, tt.want)
			}
			if class == "" && (to.host != tt.host || to.port != tt.port) {
				t.Errorf("leads to %s port %d, want %s port %d", to.host, to.port, tt.host, tt.port)
			}
			if class != "" && (message == "" || tt.url != "" && strings.Contains(message, tt.url)) {
				t.Errorf("message %q", message)
			}
		})
	}
}

// FuzzURL compares the host and port that were checked with those that net/http then connects to.
func FuzzURL(f *testing.F) {
	for _, url := range []string{
		"https://receiver.example/hook?a=b", "http://receiver.example:8080", "https://[2001:db8::1]:8443/", "https://127.1/",
		"https://user@receiver.example/", "https://receiver.example:0443/", "https://receiver.example:/", "https:opaque",
		"https://１２７.０.０.１/", "https://xn--bcher-kva.example/", `https://a\@b/`, "https://[fe80::1%25eth0]/",
		"https://a:1:2/", "HTTPS://A.EXAMPLE./", "https://[::ffff:127.0.0.1]/", "https://a.example#@b.example/",
		"https://a.example?@b.example/",
	} {
		f.Add(url)
	}
	var dialled []string
	errStop := errors.New("not here")
	s := newSender(f, func(cfg *Config) {
		cfg.RequestTimeout = time.Minute
		cfg.AllowedPorts = must(ParsePorts("1-65535"))
		cfg.Dialer = dialFunc(func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			return nil, errStop
		})
	})
	f.Fuzz(func(t *testing.T, url string) {
		dialled = nil
		result := s.Send(t.Context(), Request{ID: "1", URL: url, Body: []byte("{}")})
		to, class, _ := parseTarget(url, true)
		if class != "" {
			if len(dialled) > 0 || result.Class != class {
				t.Fatalf("class %s, Send %s, dialled %q", class, result.Class, dialled)
			}
			return
		}
		want := net.JoinHostPort(to.host, strconv.Itoa(int(to.port)))
		if len(dialled) != 1 || dialled[0] != want {
			t.Fatalf("checked %q, dialled %q", want, dialled)
		}
		if ip, err := netip.ParseAddr(to.host); (err == nil) != to.addr.IsValid() || err == nil && ip != to.addr {
			t.Fatalf("address %s of host %q", to.addr, to.host)
		}
		if result.Class != ConnectionFailed || strings.Contains(result.Message, to.host) && len(to.host) > 9 {
			t.Fatalf("%s: %s", result.Class, result.Message)
		}
	})
}
