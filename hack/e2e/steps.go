// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// step is one thing that is tried.
type step struct {
	name string
	what string
	// essential steps are those without which the later ones cannot work.
	essential bool
	run       func(context.Context, *stage) (tally, string, error)
}

// steps are in order: nothing before crash may repeat a request.
var steps = []step{
	{"receiver", "the reference receiver as a pod behind a Service with a certificate", true, startReceiver},
	{"install", "config/default with Jobs, /fetch and the receiver opened, restricted pods, two replicas available", true,
		install},
	{"samples", "the samples are applied; the slowest ends beside the next steps", false, applySamples},
	{"jobs", "an annotated Job finishes, another fails", false, runJobs},
	{"suspend", "a suspended delivery is not sent until it is resumed", false, suspend},
	{"guard", "an address inside the cluster that was not opened", false, denied},
	{"metrics", "scraped through the Service, with and without the right to", false, scrape},
	{"delete-leader", "the leader's pod is deleted under load", false, deleteLeader},
	{"rolling-update", "a new revision is rolled out while deliveries wait for their second attempt", false, rollOut},
	{"drain", "the leader's node is drained under load, as far as the disruption budget allows", false, drain},
	{"samples-end", "every sample has ended as it should", false, checkSamples},
	{"fetch", "results fetched through the Service by secret and by ServiceAccount token", false, fetchResults},
	{"crash", "the leader is killed by SIGKILL under load", false, crash},
	{"out-of-memory", "a memory limit that is too small for the load, and then one that is not", false, outOfMemory},
	{"drain-broken", "every replica crashes at its start, and keeps nobody from draining the node", false, drainBroken},
	{"reinstall", "uninstalled but for the CRD while deliveries wait, and installed again", false, reinstall},
}

// choose returns the named steps and the essential ones, in order; all if there are no names.
func choose(names string) (chosen []step, err error) {
	wanted := strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
	for _, name := range wanted {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return nil, fmt.Errorf("there is no step %q", name)
		}
	}
	for _, s := range steps {
		if len(wanted) == 0 || s.essential || slices.Contains(wanted, s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// uninstalled runs whatever came before.
var uninstalled = step{
	"uninstall", "everything deleted, and nothing in the cluster that was not there before", false, uninstall,
}
