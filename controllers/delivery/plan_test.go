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

func TestPlan(t *testing.T) {
	due := t0.Add(10 * time.Second)
	retrying := func() *deliveryBuilder { return makeDelivery("a").failed(1, t0, 500, due) }
	tests := map[string]struct {
		delivery *deliveryBuilder
		now      time.Time
		want     step
	}{
		"new: send":                                {makeDelivery("a"), t0, step{action: send}},
		"a nanosecond early: wait":                 {retrying(), due.Add(-1), step{action: wait, after: 1}},
		"exactly due: send":                        {retrying(), due, step{action: send}},
		"a nanosecond late: send":                  {retrying(), due.Add(1), step{action: send}},
		"an hour late, after a restart: send once": {retrying(), due.Add(time.Hour), step{action: send}},
		"clock gone back an hour: wait no longer than the gap": {
			retrying(), t0.Add(-time.Hour), step{action: wait, after: 11 * time.Second},
		},
		"clock gone back with Retry-After: wait no longer than that may be": {
			makeDelivery("a").failed(1, t0, 429, t0.Add(4*time.Minute)), t0.Add(-time.Hour),
			step{action: wait, after: 5 * time.Minute},
		},
		"delivered: idle":     {makeDelivery("a").phase(v1alpha1.PhaseDelivered), t0, step{}},
		"undeliverable: idle": {makeDelivery("a").phase(v1alpha1.PhaseUndeliverable), t0, step{}},
		"being deleted: idle": {retrying().with(func(d *v1alpha1.WebhookDelivery) {
			d.DeletionTimestamp = &metav1.Time{Time: t0}
		}), due, step{}},
		"schedule shortened below what was tried: finish": {
			makeDelivery("a").failed(4, t0, 503, time.Time{}), t0,
			step{action: finish, reason: v1alpha1.ReasonRetriesExhausted,
				message: "all 4 attempts failed, the last with: 503 Service Unavailable"},
		},
		"suspended: note it": {makeDelivery("a").suspended(), t0, step{action: note,
			reason: v1alpha1.ReasonSuspended, message: "spec.suspend is true: no attempt is made until it is false"}},
		"suspended and noted: idle": {
			makeDelivery("a").suspended().waiting(v1alpha1.ReasonSuspended, t0), t0, step{},
		},
		"suspended and noted, with a deadline: wait for that": {
			makeDelivery("a").suspended().waiting(v1alpha1.ReasonSuspended, t0).before(t0.Add(time.Minute)), t0,
			step{action: wait, after: time.Minute},
		},
		"resumed before it is due: note it": {
			retrying().waiting(v1alpha1.ReasonSuspended, t0), t0,
			step{action: note, after: 10 * time.Second, reason: v1alpha1.ReasonResumed, message: "no longer suspended"},
		},
		"resumed after it was due: send":         {retrying().waiting(v1alpha1.ReasonSuspended, t0), due, step{action: send}},
		"a nanosecond before the deadline: send": {makeDelivery("a").before(t0), t0.Add(-1), step{action: send}},
		"exactly at the deadline: expired": {makeDelivery("a").before(t0), t0, step{action: finish,
			reason: v1alpha1.ReasonExpired, message: "spec.deliverBefore has passed"}},
		"suspended past the deadline: expired": {makeDelivery("a").suspended().before(t0), t0, step{action: finish,
			reason: v1alpha1.ReasonExpired, message: "spec.deliverBefore has passed"}},
		"deadline before the next attempt: wait for that": {
			retrying().before(t0.Add(5 * time.Second)), t0, step{action: wait, after: 5 * time.Second},
		},
	}
	p := DefaultPolicy()
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := tc.delivery.obj()
			got := p.plan(d, p.dueTime(d, tc.now), tc.now)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanWithoutSecret(t *testing.T) {
	const missing, noKey = v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyNotFound
	waiting := func() *deliveryBuilder { return makeDelivery("a").waiting(missing, t0) }
	tests := map[string]struct {
		delivery *deliveryBuilder
		waited   time.Duration
		want     step
	}{
		"first noticed":        {makeDelivery("a"), 0, step{note, time.Second, missing, "gone"}},
		"noted a moment ago":   {waiting(), 500 * time.Millisecond, step{wait, time.Second, "", ""}},
		"backs off":            {waiting(), 8 * time.Second, step{wait, 8 * time.Second, "", ""}},
		"but not beyond a cap": {waiting(), 20 * time.Minute, step{wait, 30 * time.Second, "", ""}},
		"the reason changed": {makeDelivery("a").waiting(noKey, t0), 20 * time.Minute,
			step{note, 30 * time.Second, missing, "gone"}},
		"polls once more at the end":      {waiting(), time.Hour - time.Second, step{wait, time.Second, "", ""}},
		"a nanosecond before the end":     {waiting(), time.Hour - 1, step{wait, 1, "", ""}},
		"exactly at the end":              {waiting(), time.Hour, step{finish, 0, v1alpha1.ReasonSecretUnavailable, "gone"}},
		"a deadline comes before the end": {waiting().before(t0.Add(9 * time.Second)), 8 * time.Second, step{wait, time.Second, "", ""}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := DefaultPolicy().planWithoutSecret(tc.delivery.obj(), missing, "gone", tc.waited, t0.Add(tc.waited))
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("planWithoutSecret (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextAttempt(t *testing.T) {
	end := t0.Add(123456789 * time.Nanosecond)
	tests := map[string]struct {
		n          int
		retryAfter time.Duration
		jitter     float64
		want       time.Duration
	}{
		"first gap":                       {1, 0, 0, 10 * time.Second},
		"second gap":                      {2, 0, 0, 30 * time.Second},
		"third gap":                       {3, 0, 0, 90 * time.Second},
		"jitter lengthens":                {1, 0, 0.5, 10*time.Second + 500*time.Millisecond},
		"Retry-After lengthens":           {1, 20 * time.Second, 0, 20 * time.Second},
		"Retry-After does not shorten":    {3, 20 * time.Second, 0, 90 * time.Second},
		"Retry-After is bounded":          {1, time.Hour, 0.9, 5 * time.Minute},
		"negative Retry-After is ignored": {1, -time.Hour, 0, 10 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := DefaultPolicy().nextAttempt(tc.n, end, tc.retryAfter, tc.jitter)
			if late := got.Sub(end.Add(tc.want)); late < 0 || late >= time.Microsecond {
				t.Errorf("next attempt %s after the end, want %s rounded up to microseconds", got.Sub(end), tc.want)
			}
		})
	}
}

func TestPolicyValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Policy)
		want   string
	}{
		"default":         {func(*Policy) {}, ""},
		"no retries":      {func(p *Policy) { p.Schedule = nil }, ""},
		"longest":         {func(p *Policy) { p.Schedule = make16(15) }, ""},
		"one gap too far": {func(p *Policy) { p.Schedule = make16(16) }, "the retry schedule has 16 gaps, but status can record 16 attempts: shorten it to at most 15"},
		"zero gap":        {func(p *Policy) { p.Schedule[1] = 0 }, "gap 2 of the retry schedule is 0s: every gap must be longer than zero"},
		"no payload":      {func(p *Policy) { p.MaxPayload = 0 }, "the largest payload must be at least 1 byte"},
		"negative wait":   {func(p *Policy) { p.RetryAfterMax = -1 }, "the longest Retry-After and the time to wait for a Secret must not be negative"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := DefaultPolicy()
			tc.change(&p)
			got := ""
			if err := p.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("Validate() = %q, want %q", got, tc.want)
			}
		})
	}
}

func make16(n int) []time.Duration {
	gaps := make([]time.Duration, n)
	for i := range gaps {
		gaps[i] = time.Second
	}
	return gaps
}
