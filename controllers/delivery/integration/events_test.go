// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// TestDescribe reads what kubectl describe says of deliveries that need someone: one warning, with what to do next.
func TestDescribe(t *testing.T) {
	t.Parallel()
	given, waits, fine := makeDelivery("described-given-up", "/status/503"), makeDelivery("described-waits", "/ok"),
		makeDelivery("described-fine", "/ok")
	waits.Spec.SecretRef.Name = "described"
	for _, d := range []*v1alpha1.WebhookDelivery{given, waits, fine} {
		create(t, d)
	}
	waitFor(t, waits.Name, because(v1alpha1.ReasonSecretNotFound))
	since := longAgo(t, waits)
	waitFor(t, given.Name, finished)
	tests := map[string]struct {
		name string
		want []string // parts of the event, in order
	}{
		"given up": {given.Name, []string{
			"Warning", "RetriesExhausted", "webhookdelivery",
			"given up: all 4 attempts failed, the last with: 503 Service Unavailable. ",
			"label this object webhookdelivery.dev/redeliver=true to deliver it again",
		}},
		"waiting": {waits.Name, []string{
			"Warning", "SecretNotFound", "webhookdelivery", `Secret "described" not found: create it. Waiting since `,
			"given up at " + since.Add(time.Hour).Format(time.RFC3339),
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			rest := firstEvent(t, tc.name)
			for _, part := range tc.want {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("no %q, or not in its place:\n%s", part, strings.Join(described(t, tc.name), "\n"))
				}
				rest = after
			}
		})
	}
	create(t, makeSecret("described", secret))
	waitFor(t, waits.Name, finished)
	for name, want := range map[string]int{given.Name: 1, waits.Name: 1, fine.Name: 0} {
		if got := described(t, name); len(got) != want {
			t.Errorf("%s has %d events, want %d:\n%s", name, len(got), want, strings.Join(got, "\n"))
		}
	}
}

// longAgo makes the wait of d one of two minutes: the operator goes by what status tells. It returns its beginning.
func longAgo(t *testing.T, d *v1alpha1.WebhookDelivery) time.Time {
	t.Helper()
	since := metav1.NewTime(time.Now().Add(-2 * time.Minute)).UTC()
	patch := fmt.Sprintf(`{"status":{"waitingSince":%q}}`, since.Format(time.RFC3339))
	if err := cluster.Status().Patch(t.Context(), d, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
	return since
}

// firstEvent returns the first event of a delivery once there is one, as kubectl describe prints it.
func firstEvent(t *testing.T, name string) (event string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, patience, true,
		func(context.Context) (bool, error) {
			events := described(t, name)
			if len(events) > 0 {
				event = events[0]
			}
			return len(events) > 0, nil
		})
	if err != nil {
		t.Fatalf("no event of %s: %v", name, err)
	}
	return event
}

// described returns the events of a delivery, one a line, as kubectl describe prints them.
func described(t *testing.T, name string) []string {
	t.Helper()
	text := kubectl(t, "describe", "whd", name)
	_, events, ok := strings.Cut(text, "\nEvents:")
	if !ok {
		t.Fatalf("kubectl describe has no events:\n%s", text)
	}
	lines := strings.Split(strings.TrimSpace(events), "\n")
	if lines[0] == "<none>" {
		return nil
	}
	return lines[2:] // below the header
}
