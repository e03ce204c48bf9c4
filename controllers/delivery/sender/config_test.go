// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

func TestNewErrors(t *testing.T) {
	broken := t.TempDir() + "/ca.crt"
	if err := os.WriteFile(broken, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := func(raw string) func(*Config) {
		return func(cfg *Config) { cfg.EgressProxy = must(url.Parse(raw)) }
	}
	tests := map[string]struct {
		change func(*Config)
		want   string // in the error; none if empty
	}{
		"fine":                 {func(*Config) {}, ""},
		"http proxy":           {proxy("http://user:pw@proxy.example:3128"), ""},
		"https proxy":          {proxy("https://10.0.0.1/"), ""},
		"no timeout":           {func(cfg *Config) { cfg.RequestTimeout = 0 }, "10s"},
		"negative timeout":     {func(cfg *Config) { cfg.RequestTimeout = -1 }, "10s"},
		"no user agent":        {func(cfg *Config) { cfg.UserAgent = "" }, "user agent"},
		"user agent of lines":  {func(cfg *Config) { cfg.UserAgent = "a\r\nb: c" }, "user agent"},
		"negative connections": {func(cfg *Config) { cfg.MaxConnsPerEndpoint = -1 }, "below 0"},
		"negative idle":        {func(cfg *Config) { cfg.MaxIdleConns = -1 }, "below 0"},
		"missing bundle": {func(cfg *Config) {
			cfg.CABundleFile, cfg.OnReloadError = broken+".missing", func(error) {}
		}, "no such file"},
		"broken bundle": {func(cfg *Config) {
			cfg.CABundleFile, cfg.OnReloadError = broken, func(error) {}
		}, "no certificate"},
		"bundle without a report": {func(cfg *Config) { cfg.CABundleFile = broken }, "OnReloadError"},
		"socks proxy":             {proxy("socks5://proxy.example:1080"), "egress proxy"},
		"proxy without a scheme":  {proxy("proxy.example"), "egress proxy"},
		"proxy without a host":    {proxy("http://:3128"), "egress proxy"},
		"proxy port 0":            {proxy("http://proxy.example:0"), "egress proxy"},
		"proxy port too large":    {proxy("http://proxy.example:70000"), "egress proxy"},
		"proxy with a path":       {proxy("http://user:" + testSecret + "@proxy.example:3128/x"), "egress proxy"},
		"proxy with a query":      {proxy("http://proxy.example:3128?a"), "egress proxy"},
		"proxy not ASCII":         {proxy("http://pröxy.example:3128"), "egress proxy"},
		"no prefix": {func(cfg *Config) {
			cfg.AllowCIDRs = []netip.Prefix{{}}
		}, "to allow"},
		"mapped prefix": {func(cfg *Config) {
			cfg.DenyCIDRs = prefixes("::ffff:10.0.0.0/104")
		}, "to deny"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{RequestTimeout: time.Second, UserAgent: "test/1"}
			tt.change(&cfg)
			s, err := New(cfg)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), testSecret) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	s, err := New(Config{RequestTimeout: time.Second, UserAgent: "test/1"})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := s.transports.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if transport.MaxConnsPerHost != DefaultMaxConnsPerEndpoint || transport.MaxIdleConns != DefaultMaxIdleConns ||
		s.guard.ports.String() != DefaultPorts.String() || s.cfg.AllowHTTP {
		t.Errorf("%+v", s.cfg)
	}
	transport, err = s.transports.get(&TLS{CA: testCA().pem})
	if err != nil {
		t.Fatal(err)
	}
	if all := transport.MaxIdleConns * maxTransports; transport.MaxIdleConns < 1 || all > DefaultMaxIdleConns {
		t.Errorf("transports for TLS material keep %d connections, together %d", transport.MaxIdleConns, all)
	}
}
