// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import "testing"

func TestParsePorts(t *testing.T) {
	tests := map[string]struct {
		list      string
		want      string
		wantError bool
		in, out   []uint16
	}{
		"one":   {list: "443", want: "443", in: []uint16{443}, out: []uint16{0, 442, 444}},
		"range": {list: "1024-65535", want: "1024-65535", in: []uint16{1024, 65535}, out: []uint16{0, 1023}},
		"both, with spaces": {
			list: "443, 8000-8001", want: "443,8000-8001", in: []uint16{443, 8000, 8001}, out: []uint16{7999},
		},
		"all":          {list: "1-65535", want: "1-65535", in: []uint16{1, 65535}, out: []uint16{0}},
		"empty":        {list: "", wantError: true},
		"empty entry":  {list: "443,", wantError: true},
		"zero":         {list: "0", wantError: true},
		"from zero":    {list: "0-80", wantError: true},
		"reversed":     {list: "90-80", wantError: true},
		"too large":    {list: "65536", wantError: true},
		"name":         {list: "https", wantError: true},
		"open end":     {list: "1024-", wantError: true},
		"leading zero": {list: "0443", wantError: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ports, err := ParsePorts(tt.list)
			if (err != nil) != tt.wantError {
				t.Fatalf("error %v, want one: %t", err, tt.wantError)
			}
			if got := ports.String(); got != tt.want {
				t.Errorf("String() = %q, want %q", got, tt.want)
			}
			for _, port := range tt.in {
				if !ports.contains(port) {
					t.Errorf("%d is not in %s", port, ports)
				}
			}
			for _, port := range tt.out {
				if ports.contains(port) {
					t.Errorf("%d is in %s", port, ports)
				}
			}
		})
	}
}

func TestDefaultPorts(t *testing.T) {
	for _, port := range []uint16{443, 1024, 2378, 2382, 6442, 6444, 8080, 8443, 10249, 10251, 10257, 65535} {
		if !DefaultPorts.contains(port) {
			t.Errorf("%d is not in the default", port)
		}
	}
	for _, port := range []uint16{0, 1, 22, 25, 80, 442, 444, 1023, 2379, 2380, 2381, 6443, 10250, 10255, 10256} {
		if DefaultPorts.contains(port) {
			t.Errorf("%d is in the default", port)
		}
	}
	reread, err := ParsePorts(DefaultPorts.String())
	if err != nil || reread.String() != DefaultPorts.String() {
		t.Errorf("ParsePorts(%q) = %q, %v", DefaultPorts, reread, err)
	}
}
