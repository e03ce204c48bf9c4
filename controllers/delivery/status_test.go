// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// conditions are both conditions as a test reads them.
func conditions(delivered, undeliverable metav1.ConditionStatus, reason v1alpha1.Reason, message string, at time.Time,
) []metav1.Condition {
	both := []metav1.Condition{
		{Type: "Delivered", Status: delivered}, {Type: "Undeliverable", Status: undeliverable},
	}
	for i := range both {
		both[i].Reason, both[i].ObservedGeneration = string(reason), 1
		both[i].LastTransitionTime = metav1.NewTime(at)
	}
	if undeliverable == "True" {
		both[1].Message = message
	} else {
		both[0].Message = message
	}
	return both
}

func failure(number int32, start time.Time) attempt {
	a := newAttempt(int(number), start, start.Add(100*time.Millisecond))
	a.StatusCode, a.Reason, a.Message = 503, v1alpha1.ReasonUnexpectedStatus, "503 Service Unavailable"
	return a
}

func success(number int32, start time.Time) attempt {
	a := newAttempt(int(number), start, start.Add(100*time.Millisecond))
	a.StatusCode, a.Message, a.delivered = 200, "200 OK", true
	return a
}

func TestAfterAttempt(t *testing.T) {
	end := t0.Add(100 * time.Millisecond)
	next := func(gap time.Duration) *metav1.MicroTime { return &metav1.MicroTime{Time: end.Add(gap)} }
	before := func(n int) *v1alpha1.WebhookDelivery {
		if n == 0 {
			return makeDelivery("a").obj()
		}
		return makeDelivery("a").failed(n, t0.Add(-time.Minute), 503, t0).obj()
	}
	tests := map[string]struct {
		before  *v1alpha1.WebhookDelivery
		attempt attempt
		phase   v1alpha1.Phase
		next    *metav1.MicroTime
		done    bool
		want    []metav1.Condition
	}{
		"first succeeds": {before(0), success(1, t0), v1alpha1.PhaseDelivered, nil, true,
			conditions("True", "False", "Succeeded", "200 OK on attempt 1 of 4", end)},
		"first fails": {before(0), failure(1, t0), v1alpha1.PhaseRetrying, next(10 * time.Second), false,
			conditions("False", "False", "Retrying", "attempt 1 of 4 failed: 503 Service Unavailable", end)},
		"third fails": {before(2), failure(3, t0), v1alpha1.PhaseRetrying, next(90 * time.Second), false,
			conditions("False", "False", "Retrying", "attempt 3 of 4 failed: 503 Service Unavailable", t0.Add(-time.Minute))},
		"last fails": {before(3), failure(4, t0), v1alpha1.PhaseUndeliverable, nil, true,
			conditions("False", "True", "RetriesExhausted", "all 4 attempts failed, the last with: 503 Service Unavailable", end)},
		"last succeeds": {before(3), success(4, t0), v1alpha1.PhaseDelivered, nil, true,
			conditions("True", "False", "Succeeded", "200 OK on attempt 4 of 4", end)},
		"after waiting for a Secret": {makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, t0).obj(), success(1, t0),
			v1alpha1.PhaseDelivered, nil, true, conditions("True", "False", "Succeeded", "200 OK on attempt 1 of 4", end)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			was := tc.before.DeepCopy()
			got := DefaultPolicy().afterAttempt(tc.before, tc.attempt)
			want := v1alpha1.WebhookDeliveryStatus{
				ObservedGeneration: 1, Phase: tc.phase, NextAttemptTime: tc.next, Conditions: tc.want,
				Attempts: append(was.Status.Attempts, tc.attempt.Attempt),
			}
			if tc.done {
				want.CompletionTime = &metav1.Time{Time: end}
			}
			// The transition of a condition that did not change keeps its time.
			for i := range want.Conditions {
				if len(was.Status.Conditions) > i && was.Status.Conditions[i].Status == want.Conditions[i].Status {
					want.Conditions[i].LastTransitionTime = was.Status.Conditions[i].LastTransitionTime
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(was, tc.before); diff != "" {
				t.Errorf("the cached object was changed:\n%s", diff)
			}
		})
	}
}

func TestNewAttemptNeverEndsEarly(t *testing.T) {
	start := t0.Add(123456999 * time.Nanosecond)
	for _, took := range []time.Duration{0, 1, time.Microsecond, time.Millisecond - 1, time.Millisecond, 113*time.Millisecond + 1} {
		a := newAttempt(1, start, start.Add(took))
		if a.end().Before(start.Add(took)) {
			t.Errorf("took %s: recorded end %s is before the real one", took, a.end())
		}
		if early := a.end().Sub(start.Add(took)); early > 2*time.Millisecond {
			t.Errorf("took %s: recorded end is %s late", took, early)
		}
	}
}

func TestAfterNote(t *testing.T) {
	later := t0.Add(time.Minute)
	since := &metav1.Time{Time: t0}
	tests := map[string]struct {
		before *deliveryBuilder
		reason v1alpha1.Reason
		phase  v1alpha1.Phase
		since  *metav1.Time
	}{
		"begins to wait":                {makeDelivery("a"), v1alpha1.ReasonSecretNotFound, v1alpha1.PhasePending, &metav1.Time{Time: later}},
		"another reason, same wait":     {makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, t0), v1alpha1.ReasonSecretKeyNotFound, v1alpha1.PhasePending, since},
		"between attempts":              {makeDelivery("a").failed(1, t0, 503, t0), v1alpha1.ReasonSecretNotFound, v1alpha1.PhaseRetrying, &metav1.Time{Time: later}},
		"suspended while it waits":      {makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, t0), v1alpha1.ReasonSuspended, v1alpha1.PhasePending, nil},
		"resumed with attempts to come": {makeDelivery("a").failed(1, t0, 503, later), v1alpha1.ReasonResumed, v1alpha1.PhaseRetrying, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := tc.before.obj()
			got := afterNote(d, step{reason: tc.reason, message: "why"}, later)
			if got.Phase != tc.phase || waitReason(&v1alpha1.WebhookDelivery{Status: got}) != tc.reason {
				t.Errorf("phase %s, conditions %v", got.Phase, got.Conditions)
			}
			if diff := cmp.Diff(tc.since, got.WaitingSince); diff != "" {
				t.Errorf("waitingSince (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(d.Status.Attempts, got.Attempts); diff != "" {
				t.Errorf("attempts changed:\n%s", diff)
			}
		})
	}
}
