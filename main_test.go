// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

// parse returns the options that the flags make, with the error of the flags or of complete.
func parse(args ...string) (options, error) {
	o := defaultOptions()
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.bind(f)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	return o, o.complete()
}

func TestOptionsThatContradict(t *testing.T) {
	const (
		lease = "--leader-election-lease-duration is "
		pprof = "but must be a loopback address such as 127.0.0.1:6060"
		zap   = "--zap-log-level must be below 8: from there on client-go logs whole Secrets"
	)
	tests := map[string]struct {
		args string
		want string // part of the error; empty if there is none
	}{
		"nothing set":                       {"", ""},
		"leader election":                   {"--leader-elect", ""},
		"a lease that one request outlasts": {"--leader-elect --leader-election-lease-duration=15s", lease + "15s, but must be at least 16s"},
		"just long enough":                  {"--leader-elect --leader-election-lease-duration=16s", ""},
		"too short, but unused":             {"--leader-election-lease-duration=1s", ""},
		"a slow request":                    {"--leader-elect --request-timeout=20s", lease + "20s, but must be at least 26s"},
		"a slow renewal":                    {"--leader-elect --leader-election-retry-period=5s", lease + "20s, but must be at least 22s"},
		"debug":                             {"--zap-log-level=debug", ""},
		"level 7":                           {"--zap-log-level=7", ""},
		"level 8":                           {"--zap-log-level=8", zap},
		"level 100":                         {"--zap-log-level=100", zap},
		"no such level":                     {"--zap-log-level=loud", "loud"},
		"pprof on 127.0.0.1":                {"--pprof-bind-address=127.0.0.1:6060", ""},
		"pprof on 127.9.9.9":                {"--pprof-bind-address=127.9.9.9:6060", ""},
		"pprof on ::1":                      {"--pprof-bind-address=[::1]:6060", ""},
		"pprof on localhost":                {"--pprof-bind-address=localhost:6060", ""},
		"pprof on every address":            {"--pprof-bind-address=:6060", pprof},
		"pprof on 0.0.0.0":                  {"--pprof-bind-address=0.0.0.0:6060", pprof},
		"pprof on ::":                       {"--pprof-bind-address=[::]:6060", pprof},
		"pprof on a pod's address":          {"--pprof-bind-address=10.1.2.3:6060", pprof},
		"pprof on a name":                   {"--pprof-bind-address=localhost.example:6060", pprof},
		"pprof without a port":              {"--pprof-bind-address=127.0.0.1", pprof},
		"a gap that is no duration":         {"--retry-schedule=10s,soon", "retry-schedule"},
		"a range that is none":              {"--allow-cidrs=10.0.0.0", "allow-cidrs"},
		"a port that is none":               {"--allowed-ports=https", "allowed-ports"},
		"a time to live that is none":       {"--ttl-delivered=forever", "ttl-delivered"},
		"no such flag":                      {"--retries=3", "retries"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(strings.Fields(tc.args)...)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%s: %v, want %q", tc.args, err, tc.want)
			}
		})
	}
}

func TestOptionsThatFollowFromOthers(t *testing.T) {
	tests := map[string]struct {
		args string
		want lanes.Limits
	}{
		"nothing set":                {"", lanes.Limits{Total: 512, PerEndpoint: 64, PerNamespace: 256}},
		"half for a namespace":       {"--max-requests=100", lanes.Limits{Total: 100, PerEndpoint: 64, PerNamespace: 50}},
		"at least one":               {"--max-requests=1", lanes.Limits{Total: 1, PerEndpoint: 1, PerNamespace: 1}},
		"all for a namespace":        {"--max-requests-per-namespace=512", lanes.Limits{Total: 512, PerEndpoint: 64, PerNamespace: 512}},
		"no more for one than there": {"--max-requests-per-endpoint=9999", lanes.Limits{Total: 512, PerEndpoint: 512, PerNamespace: 256}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parse(strings.Fields(tc.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, o.delivery.Limits); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
			if o.sender.MaxConnsPerEndpoint != tc.want.PerEndpoint || o.sender.MaxIdleConns != 2*tc.want.Total {
				t.Errorf("%d connections for an endpoint and %d idle ones", o.sender.MaxConnsPerEndpoint, o.sender.MaxIdleConns)
			}
		})
	}
	o, err := parse("--namespaces=a, b,,c", "--request-timeout=3s")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, o.retention.Namespaces); diff != "" {
		t.Errorf("namespaces of retention (-want +got):\n%s", diff)
	}
	for args, want := range map[string]string{
		"":                                    sender.DefaultPorts.String(),
		"--allow-http":                        "80," + sender.DefaultPorts.String(),
		"--allow-http --allowed-ports=8443":   "8443",
		"--allowed-ports=80,443 --allow-http": "80,443",
	} {
		o, err := parse(strings.Fields(args)...)
		if err != nil || o.sender.AllowedPorts.String() != want {
			t.Errorf("%q allows the ports %s (%v), want %s", args, o.sender.AllowedPorts, err, want)
		}
	}
	if o.delivery.ShutdownFlush != 18*time.Second {
		t.Errorf("a shutdown takes %s for requests of 3 s, want 18 s", o.delivery.ShutdownFlush)
	}
}

// TestDocumentedDefaults reads the flags and defaults in docs/operations.md, as far as those are plain values.
func TestDocumentedDefaults(t *testing.T) {
	text, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	o := defaultOptions()
	o.bind(f)
	rows := regexp.MustCompile("(?m)^\\| (`--[^|]*`) \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1)
	if len(rows) == 0 {
		t.Fatal("docs/operations.md has no table of flags")
	}
	for _, row := range rows {
		names := regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(row[1], -1)
		defaults := strings.Split(row[2], ", ")
		for i, name := range names {
			declared := f.Lookup(name[1])
			if declared == nil {
				t.Errorf("there is no flag --%s", name[1])
				continue
			}
			got, want := declared.DefValue, strings.Trim(defaults[min(i, len(defaults)-1)], "`")
			if value, err := time.ParseDuration(want); err == nil {
				want = value.String()
			} else if !regexp.MustCompile(`^\d+$`).MatchString(want) {
				continue // told in words
			}
			if got != want && !strings.Contains(declared.Usage, "(default "+strings.Trim(defaults[i], "`")+")") {
				t.Errorf("--%s is %s by default, documented is %s", name[1], got, want)
			}
		}
	}
}

// TestSettingsAreLogged reads the line that is written at the start.
func TestSettingsAreLogged(t *testing.T) {
	o, err := parse("--retry-schedule=1s,2s", "--allow-cidrs=10.0.0.0/8", "--egress-proxy=http://user:hidden@proxy:1")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o.logSettings(zap.New(zap.WriteTo(&out)))
	line := out.String()
	if strings.Count(line, "\n") != 1 {
		t.Errorf("more than one line:\n%s", line)
	}
	for _, want := range []string{
		`"retrySchedule":[1,2]`, `"allowCIDRs":["10.0.0.0/8"]`, `"egressProxy":true`, `"secretWaitTimeout":3600`,
		`"ttlDelivered":"24h0m0s"`, `"leaseDuration":20`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in:\n%s", want, line)
		}
	}
	if strings.Contains(line, "hidden") {
		t.Errorf("the proxy's password shows:\n%s", line)
	}
}

// TestAnErrorIsOneLine logs an error as the manager does unless it is told otherwise.
func TestAnErrorIsOneLine(t *testing.T) {
	for args, stack := range map[string]bool{"": false, "--zap-stacktrace-level=error": true} {
		o, err := parse(strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		zap.New(zap.UseFlagOptions(&o.log), zap.WriteTo(&out)).Error(errors.New("no such host"), "failed")
		line := out.String()
		if !strings.Contains(line, `"error":"no such host"`) || strings.Contains(line, "main_test.go") != stack {
			t.Errorf("with %q:\n%s", args, line)
		}
	}
}
