// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := plane.Kubectl(t.Context(), append([]string{"--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKubectl(t *testing.T) {
	t.Parallel()
	good, bad := makeDelivery("kubectl-good", "/fail-first/1"), makeDelivery("kubectl-bad", "/status/502")
	create(t, good)
	create(t, bad)
	kubectl(t, "wait", "--for=condition=Delivered", "--timeout=30s", "whd/kubectl-good")
	kubectl(t, "wait", "--for=jsonpath={.status.completionTime}", "--timeout=30s", "whd/kubectl-bad")
	tests := map[string]struct {
		args []string
		want []string // the fields of the line of one of the two
	}{
		"table of a delivered one":      {[]string{"get", "whd", "kubectl-good"}, []string{"kubectl-good", "Delivered", "Succeeded", "2", "200"}},
		"table of an undeliverable one": {[]string{"get", "webhookdeliveries", "kubectl-bad"}, []string{"kubectl-bad", "Undeliverable", "RetriesExhausted", "4", "502"}},
		"by phase":                      {[]string{"get", "whd", "--field-selector=status.phase=Undeliverable,spec.payload.task_id=kubectl-bad"}, []string{"kubectl-bad", "Undeliverable", "RetriesExhausted", "4", "502"}},
		"by task":                       {[]string{"get", "whd", "--field-selector=spec.payload.task_id=kubectl-good"}, []string{"kubectl-good", "Delivered", "Succeeded", "2", "200"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(kubectl(t, tc.args...)), "\n")
			if len(lines) != 2 {
				t.Fatalf("%d lines, want a header and one object:\n%s", len(lines), strings.Join(lines, "\n"))
			}
			if got := strings.Join(strings.Fields(lines[1])[:len(tc.want)], " "); got != strings.Join(tc.want, " ") {
				t.Errorf("line %q, want %q", got, tc.want)
			}
		})
	}
	if events := kubectl(t, "events", "--for=webhookdelivery.webhookdelivery.dev/kubectl-bad"); !strings.Contains(events, "RetriesExhausted") {
		t.Errorf("no event about the undeliverable delivery:\n%s", events)
	}
}

// TestOneWritePerDelivery runs alone: it counts what all of the API server's clients do.
func TestOneWritePerDelivery(t *testing.T) {
	const n = 200
	before := calls(t)
	for i := range n {
		create(t, makeDelivery(fmt.Sprintf("count-%d", i), "/ok"))
	}
	for i := range n {
		waitForWatch(t, fmt.Sprintf("count-%d", i))
	}
	after := calls(t)
	spent := func(what string) float64 { return after[what] - before[what] }
	if writes := spent("PATCH webhookdeliveries/status"); writes != n {
		t.Errorf("%v status writes for %d deliveries", writes, n)
	}
	if reads := spent("GET secrets") + spent("LIST webhookdeliveries"); reads > 0.05*n {
		t.Errorf("%v reads for %d deliveries", reads, n)
	}
	if events := spent("POST events"); events != 0 {
		t.Errorf("%v events about deliveries that succeeded", events)
	}
	log, err := os.ReadFile(filepath.Join(plane.Dir(), "manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "count-"); n != 0 || !strings.Contains(string(log), `"settings"`) {
		t.Errorf("the log tells %d times of deliveries that succeeded:\n%s", n, log)
	}
}

func calls(t *testing.T) map[string]float64 {
	t.Helper()
	counts, err := plane.Requests(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// waitForWatch waits without adding lists to the count: gets of deliveries are this test's own.
func waitForWatch(t *testing.T, name string) {
	t.Helper()
	if d := waitFor(t, name, finished); d.Status.Phase != v1alpha1.PhaseDelivered {
		t.Errorf("%s is %s", name, d.Status.Phase)
	}
}
