// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// denied is all that may be told of an address that policy forbids.
const denied = "policy permits no address of the host"

func TestAddressGuardByDefault(t *testing.T) {
	t.Parallel()
	open, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	go open.refuseAll()
	_, port, err := net.SplitHostPort(open.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ host, message string }{
		"loopback, open port":   {"127.0.0.1:" + port, denied},
		"loopback, closed port": {closed, denied},
		"name of the loopback":  {"localhost:" + port, denied},
		"ipv6 loopback":         {"[::1]:" + port, denied},
		"ipv4-mapped":           {"[::ffff:127.0.0.1]:" + port, denied},
		"nat64":                 {"[64:ff9b::7f00:1]:" + port, denied},
		"unspecified":           {"0.0.0.0:" + port, denied},
		"metadata":              {"169.254.169.254", denied},
		"private":               {"10.0.0.1", denied},
		"port of the kubelet":   {unresolvable + ":10250", "policy does not permit port 10250"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := makeDelivery(guarded, strings.NewReplacer(" ", "-", ",", "").Replace(name), "https://"+tc.host+"/hook")
			create(t, d)
			d = waitFor(t, d, finished)
			if d.Status.Phase != v1alpha1.PhaseUndeliverable || why(d) != v1alpha1.ReasonAddressDenied {
				t.Errorf("%s, %s", d.Status.Phase, why(d))
			}
			if len(d.Status.Attempts) != 0 {
				t.Errorf("attempts were spent: %+v", d.Status.Attempts)
			}
			if diff := cmp.Diff(tc.message, message(d)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if took := d.Status.CompletionTime.Sub(d.CreationTimestamp.Time); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Cleanup(func() { // once all of the above have ended
		if n := open.accepted.Load(); n != 0 {
			t.Errorf("%d connections were made", n)
		}
	})
}

func TestDeniedRangeWins(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(inbox.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := makeDelivery(loud, "denied-range", "https://"+net.JoinHostPort(deniedHost, port)+"/ok")
	create(t, d)
	if d = waitFor(t, d, finished); why(d) != v1alpha1.ReasonAddressDenied || message(d) != denied {
		t.Errorf("%s: %s", why(d), message(d))
	}
}

func TestEgressProxy(t *testing.T) {
	t.Parallel()
	store(t, proxied, "webhook-secret", map[string][]byte{"webhook-secret": []byte("through-the-proxy")})
	tests := map[string]struct {
		host    string
		reasons []v1alpha1.Reason
		ending  v1alpha1.Reason
		asks    int
	}{
		"name that only the proxy resolves": {"proxied.receiver.example", []v1alpha1.Reason{""}, v1alpha1.ReasonSucceeded, 1},
		"proxy refuses": {
			"refused.example", []v1alpha1.Reason{v1alpha1.ReasonProxyError, v1alpha1.ReasonProxyError},
			v1alpha1.ReasonRetriesExhausted, 2,
		},
		"literal address":    {inbox.Addr().String(), nil, v1alpha1.ReasonAddressDenied, 0},
		"the proxy's own":    {tunnel.Addr().String(), nil, v1alpha1.ReasonAddressDenied, 0},
		"port of an API":     {"proxied.receiver.example:6443", nil, v1alpha1.ReasonAddressDenied, 0},
		"metadata addresses": {"169.254.169.254", nil, v1alpha1.ReasonAddressDenied, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := makeDelivery(proxied, strings.NewReplacer(" ", "-", "'", "", "API", "api").Replace(name),
				"https://"+tc.host+"/ok")
			d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "webhook-secret"}
			create(t, d)
			d = waitFor(t, d, finished)
			if diff := cmp.Diff(tc.reasons, reasons(d)); diff != "" || why(d) != tc.ending {
				t.Errorf("%s: %s; attempts (-want +got):\n%s", why(d), message(d), diff)
			}
			asks := tunnel.asked(withPort(tc.host))
			if len(asks) != tc.asks {
				t.Errorf("the proxy was asked %d times, want %d", len(asks), tc.asks)
			}
			for _, a := range asks { // nothing but what the proxy needs
				headers := slices.Collect(maps.Keys(a.header))
				if diff := cmp.Diff([]string{"User-Agent"}, headers); diff != "" || a.method != http.MethodConnect {
					t.Errorf("%s with the headers (-want +got):\n%s", a.method, diff)
				}
			}
		})
	}
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(host, "443")
}

// unresolvable is a name that Go's resolver takes for none, so that it asks no server on the network for it.
const unresolvable = "receiver-.example"

// TestEnvironmentProxyIsIgnored sends to a host that is none: a manager that heeded HTTPS_PROXY would ask that proxy.
func TestEnvironmentProxyIsIgnored(t *testing.T) {
	t.Parallel()
	for namespace, want := range map[string]v1alpha1.Reason{
		loud: v1alpha1.ReasonDNSError, guarded: v1alpha1.ReasonDNSError, proxied: "",
	} {
		d := makeDelivery(namespace, "environment-proxy", "https://"+unresolvable+"/ok")
		if namespace == proxied {
			d.Spec.URL = "https://environment.receiver.example/ok"
		}
		create(t, d)
		if got := reasons(waitFor(t, d, attempts(1)))[0]; got != want {
			t.Errorf("%s: %q, want %q", namespace, got, want)
		}
	}
	if n := trap.accepted.Load(); n != 0 {
		t.Errorf("%d connections were made to the proxy that the environment names", n)
	}
}
