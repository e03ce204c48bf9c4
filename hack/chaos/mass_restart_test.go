// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// TestMassRestart starts the operator on what another left behind: thousands of deliveries that wait for their second
// attempt, at times that are spread over a while.
func TestMassRestart(t *testing.T) {
	t.Parallel()
	const (
		n      = 5000
		gap    = 60 * time.Second
		spread = 40 * time.Second
	)
	p := shortPace()
	p.schedule[0] = gap
	f, err := newField(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	for _, replica := range f.alive() {
		if err := replica.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	seeded := make([]*v1alpha1.WebhookDelivery, n)
	atOnce(t, n, func(i int) error {
		seeded[i] = f.delivery(i)
		seeded[i].Spec.URL = f.good.URL() + "/ok"
		return f.cluster.Create(t.Context(), seeded[i])
	})
	// Writing the statuses takes about as long as creating the objects did.
	first := time.Now().Add(time.Since(began) * 3 / 2)
	atOnce(t, n, func(i int) error {
		return f.fail(t.Context(), seeded[i], first.Add(time.Duration(i)*spread/n), gap)
	})
	// A wait that began anew would be seen: it would end half of the gap too late.
	if err := pause(t.Context(), time.Until(first.Add(gap/2))); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(first.Add(gap)); left < 2*p.lease {
		t.Fatalf("writing what waits took so long that the first retries are due in %s", left)
	}
	for range replicas {
		if err := f.startReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.waitUntilEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.checkRetries(t, n)
}

// atOnce calls do for each of the numbers below n, several at a time.
func atOnce(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var calls errgroup.Group
	calls.SetLimit(32)
	for i := range n {
		calls.Go(func() error { return do(i) })
	}
	if err := calls.Wait(); err != nil {
		t.Fatal(err)
	}
}

// fail gives d the status that an operator would whose first attempt failed at end.
func (f *field) fail(ctx context.Context, d *v1alpha1.WebhookDelivery, end time.Time, gap time.Duration) error {
	before := d.DeepCopy()
	d.Status.Phase, d.Status.ObservedGeneration = v1alpha1.PhaseRetrying, d.Generation
	d.Status.Attempts = []v1alpha1.Attempt{{
		Number: 1, StartTime: metav1.NewMicroTime(end), StatusCode: 503, Reason: v1alpha1.ReasonUnexpectedStatus,
	}}
	d.Status.NextAttemptTime = &metav1.MicroTime{Time: end.Add(gap)}
	for _, kind := range []string{v1alpha1.ConditionDelivered, v1alpha1.ConditionUndeliverable} {
		d.Status.Conditions = append(d.Status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionFalse, Reason: string(v1alpha1.ReasonRetrying), LastTransitionTime: metav1.Now(),
		})
	}
	return f.cluster.Status().Patch(ctx, d, client.MergeFrom(before))
}

// checkRetries checks that each delivery was retried once, at the time that was recorded for it.
func (f *field) checkRetries(t *testing.T, n int) {
	t.Helper()
	var stored v1alpha1.WebhookDeliveryList
	if err := f.cluster.List(t.Context(), &stored, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	seen := f.requests()
	var wrong []string
	var latest time.Duration
	slow := 0
	for i := range stored.Items {
		d := &stored.Items[i]
		requests := seen[string(d.UID)]
		if !d.IsDelivered() || len(d.Status.Attempts) != 2 || len(requests) != 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d requests, status %+v", d.Name, len(requests), d.Status))
			continue
		}
		due := d.Status.Attempts[0].StartTime.Add(f.pace.schedule[0])
		late := requests[0].Arrived.Sub(due)
		latest = max(latest, late)
		if late > time.Second {
			slow++
		}
		if late < 0 || late >= f.pace.schedule[0]/2 { // a wait that began anew; less than that is the machine's load
			wrong = append(wrong, fmt.Sprintf("%s: retried %s after it was due", d.Name, late))
		}
	}
	if len(stored.Items) != n || len(wrong) > 0 {
		t.Errorf("%d of %d deliveries are wrong: %s", len(wrong), len(stored.Items), wrong[:min(3, len(wrong))])
	}
	t.Logf("the latest retry came %s after it was due, %d more than a second", latest, slow)
}
