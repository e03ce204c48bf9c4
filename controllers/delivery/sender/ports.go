// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"fmt"
	"strconv"
	"strings"
)

// DefaultPorts are the https port and the unprivileged ones, without those on which a node or a control plane answers:
// etcd's (2379-2381), the API server's (6443) and kubelet's and kube-proxy's (10250, 10255, 10256).
var DefaultPorts = Ports{ranges: []portRange{
	{443, 443}, {1024, 2378}, {2382, 6442}, {6444, 10249}, {10251, 10254}, {10257, 65535},
}}

// DefaultPortsFor returns DefaultPorts, and the http port with them where http URLs are allowed.
func DefaultPortsFor(allowHTTP bool) Ports {
	if !allowHTTP {
		return DefaultPorts
	}
	return Ports{ranges: append([]portRange{{80, 80}}, DefaultPorts.ranges...)}
}

// Ports is a set of TCP ports. The zero value is empty.
type Ports struct {
	ranges []portRange
}

// portRange holds its first and its last port, and all between them.
type portRange struct {
	first, last uint16
}

// ParsePorts reads a comma-separated list of ports and ranges from 1 to 65535, for example "443,1024-65535".
func ParsePorts(list string) (Ports, error) {
	var p Ports
	for entry := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(entry), "-")
		if !isRange {
			last = first
		}
		r := portRange{first: parsePort(first), last: parsePort(last)}
		if r.first == 0 || r.last < r.first {
			return Ports{}, fmt.Errorf("ports %q: %q is neither a port from 1 to 65535 nor a range of them; "+
				"write for example 443,1024-65535", list, entry)
		}
		p.ranges = append(p.ranges, r)
	}
	return p, nil
}

// String returns what ParsePorts reads.
func (p Ports) String() string {
	entries := make([]string, 0, len(p.ranges))
	for _, r := range p.ranges {
		entry := strconv.Itoa(int(r.first))
		if r.last != r.first {
			entry += "-" + strconv.Itoa(int(r.last))
		}
		entries = append(entries, entry)
	}
	return strings.Join(entries, ",")
}

func (p Ports) contains(port uint16) bool {
	for _, r := range p.ranges {
		if r.first <= port && port <= r.last {
			return true
		}
	}
	return false
}

// parsePort returns 0 for anything but a port written in the usual way. Other spellings, "0443" and "+443" among them,
// may be read differently by whoever reads them next.
func parsePort(s string) uint16 {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || strconv.FormatUint(port, 10) != s {
		return 0
	}
	return uint16(port)
}
