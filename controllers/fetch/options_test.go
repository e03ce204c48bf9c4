// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"flag"
	"math"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string // in the error; "" is none
	}{
		"off":                     {nil, "nothing to serve"},
		"off by 0":                {[]string{"-fetch-bind-address=0"}, "nothing to serve"},
		"HTTPS":                   {[]string{"-fetch-bind-address=:8444", "-fetch-cert-file=c", "-fetch-key-file=k"}, ""},
		"plain on IPv4 loopback":  {[]string{"-fetch-bind-address=127.0.0.2:80"}, ""},
		"plain on IPv6 loopback":  {[]string{"-fetch-bind-address=[::1]:80"}, ""},
		"plain on localhost":      {[]string{"-fetch-bind-address=localhost:80"}, ""},
		"plain on every address":  {[]string{"-fetch-bind-address=:80"}, "set --fetch-cert-file and --fetch-key-file"},
		"plain on 0.0.0.0":        {[]string{"-fetch-bind-address=0.0.0.0:80"}, "or bind to a loopback address"},
		"plain on the network":    {[]string{"-fetch-bind-address=192.0.2.1:80"}, "plain text"},
		"plain on a name":         {[]string{"-fetch-bind-address=localhost.example:80"}, "plain text"},
		"certificate without key": {[]string{"-fetch-bind-address=:80", "-fetch-cert-file=c"}, "set both"},
		"key without certificate": {[]string{"-fetch-bind-address=127.0.0.1:80", "-fetch-key-file=k"}, "set both"},
		"no port":                 {[]string{"-fetch-bind-address=127.0.0.1"}, "must be host:port"},
		"no requests":             {[]string{"-fetch-bind-address=[::1]:80", "-fetch-requests-per-second=0"}, "more than 0"},
		"none in flight":          {[]string{"-fetch-bind-address=[::1]:80", "-fetch-max-in-flight=0"}, "at least 1"},
	} {
		t.Run(name, func(t *testing.T) {
			o, f := DefaultOptions(), flag.NewFlagSet("", flag.ContinueOnError)
			o.Bind(f)
			if err := f.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			err := o.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	o := Options{BindAddress: "[::1]:80", RequestsPerSecond: math.NaN(), MaxInFlight: 1}
	if err := o.Validate(); err == nil {
		t.Error("NaN requests a second were accepted")
	}
}
