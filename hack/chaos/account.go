// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

var unfinished = fields.AndSelectors(
	fields.OneTermNotEqualSelector("status.phase", string(v1alpha1.PhaseDelivered)),
	fields.OneTermNotEqualSelector("status.phase", string(v1alpha1.PhaseUndeliverable)),
)

// verdict is what one scenario came to.
type verdict struct {
	Scenario      string `json:"scenario"`
	Created       int    `json:"created"`
	Delivered     int    `json:"delivered"`
	Undeliverable int    `json:"undeliverable"`
	// Lost are deliveries that have vanished, have not ended, or have not ended as their receiver makes them: of what it
	// accepts in the end, none is given up, and of the rest none before its last attempt.
	Lost int `json:"lost"`
	// Duplicates are requests that no recorded attempt accounts for, those among them that belong to no delivery, or carry
	// the payload of another; AllowedDuplicates are those of them that were in
	// flight, or not recorded yet, when a process was killed or could not reach the API server before it ended.
	Duplicates        int `json:"duplicates"`
	AllowedDuplicates int `json:"allowed_duplicates"`
	// Invented are recorded answers to requests that no receiver has seen.
	Invented int `json:"invented"`
	// AtRisk are the requests in flight and the unwritten outcomes that the processes themselves told of: a moment before
	// a kill, or as they gave up.
	AtRisk int `json:"at_risk"`
	// EarlyRetries are attempts that began before the gap of the schedule was over.
	EarlyRetries int `json:"early_retries"`
	// MaxLateSeconds is how much later than the gap with its jitter a retry began at most.
	MaxLateSeconds float64 `json:"max_late_seconds"`
	// LongestGapSeconds is the longest time in which the receiver saw no request while the load lasted: what a failover
	// takes.
	LongestGapSeconds float64  `json:"longest_gap_seconds"`
	Pass              bool     `json:"pass"`
	Broken            []string `json:"broken,omitempty"`

	unexplained []string
	earliest    time.Duration
}

// account holds the stored deliveries against what the receivers saw.
func (f *field) account(ctx context.Context, name string, created int) (verdict, error) {
	v := verdict{Scenario: name, Created: created}
	var stored v1alpha1.WebhookDeliveryList
	if err := f.cluster.List(ctx, &stored, client.InNamespace(namespace)); err != nil {
		return v, err
	}
	seen := f.requests()
	v.Lost = created - len(stored.Items)
	f.mu.Lock()
	losses := slices.Clone(f.losses)
	f.mu.Unlock()
	for _, l := range losses {
		v.AtRisk += l.atRisk
	}
	for i := range stored.Items {
		d := &stored.Items[i]
		v.outcome(d, seen[string(d.UID)], len(f.pace.schedule)+1)
		v.repeats(d, seen[string(d.UID)], losses)
		v.punctuality(d, f.pace.schedule)
		delete(seen, string(d.UID))
	}
	v.strangers(seen)
	v.LongestGapSeconds = longestGap(f.good.Requests(), f.began, f.ended).Seconds()
	v.judge()
	return v, nil
}

// requests are what the receivers saw, by webhook-id.
func (f *field) requests() map[string][]receiver.Record {
	seen := map[string][]receiver.Record{}
	for _, server := range []*receiver.Server{f.good, f.hanging} {
		for _, r := range server.Requests() {
			seen[r.WebhookID] = append(seen[r.WebhookID], r)
		}
	}
	return seen
}

// outcome holds the end of a delivery against its receiver, and against how many attempts are to be made.
func (v *verdict) outcome(d *v1alpha1.WebhookDelivery, seen []receiver.Record, attempts int) {
	accepted := slices.ContainsFunc(seen, func(r receiver.Record) bool { return r.Status/100 == 2 })
	switch {
	case d.IsDelivered() && accepted:
		v.Delivered++
	case d.IsUndeliverable() && !accepted && refuses(d.Spec.URL) && len(d.Status.Attempts) == attempts:
		v.Undeliverable++
	default:
		v.Lost++
	}
}

// repeats counts the requests that no recorded attempt accounts for.
func (v *verdict) repeats(d *v1alpha1.WebhookDelivery, seen []receiver.Record, losses []loss) {
	attempts := slices.Clone(d.Status.Attempts)
	used := map[int]bool{}
	for _, r := range seen {
		i := slices.IndexFunc(attempts, func(a v1alpha1.Attempt) bool {
			end := a.StartTime.Add(time.Duration(a.DurationMilliseconds)*time.Millisecond + clockSlack)
			return !r.Arrived.Before(a.StartTime.Add(-clockSlack)) && r.Arrived.Before(end)
		})
		if i >= 0 && r.TaskID == d.Name {
			attempts = slices.Delete(attempts, i, i+1)
			continue
		}
		v.Duplicates++
		if i := pardon(seen, losses, used); i >= 0 {
			used[i] = true
			v.AllowedDuplicates++
		} else {
			v.unexplained = append(v.unexplained,
				fmt.Sprintf("%s of %s at %s, beside %s", r.Path, d.Name, r.Arrived.Format(time.StampMicro),
					times(d.Status.Attempts)))
		}
	}
	for _, a := range attempts {
		if a.StatusCode != 0 {
			v.Invented++
		}
	}
}

// times tells when attempts were made, and how they ended.
func times(attempts []v1alpha1.Attempt) string {
	var all []string
	for _, a := range attempts {
		all = append(all, fmt.Sprintf("%s for %d ms: %d %s", a.StartTime.Format(time.StampMicro), a.DurationMilliseconds,
			a.StatusCode, a.Reason))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// strangers counts the requests with a webhook-id that is no delivery's.
func (v *verdict) strangers(seen map[string][]receiver.Record) {
	for id, requests := range seen {
		v.Duplicates += len(requests)
		v.unexplained = append(v.unexplained, fmt.Sprintf("%s with webhook-id %q", requests[0].Path, id))
	}
}

// clockSlack is how far an arrival may lie outside the recorded time of its attempt. Go reads the wall clock, and then
// the monotonic one; a process that is preempted between the two, for 5 ms and more on a busy machine, records an
// attempt that ended too early by that. Each attempt accounts for one request, and attempts are seconds apart, so that
// no repeated request passes for the first.
const clockSlack = 100 * time.Millisecond

func (v *verdict) punctuality(d *v1alpha1.WebhookDelivery, schedule []time.Duration) {
	for n := 1; n < len(d.Status.Attempts); n++ {
		before, gap := d.Status.Attempts[n-1], schedule[n-1]
		end := before.StartTime.Add(time.Duration(before.DurationMilliseconds) * time.Millisecond)
		waited := d.Status.Attempts[n].StartTime.Sub(end)
		if waited < gap {
			v.EarlyRetries++
			v.earliest = max(v.earliest, gap-waited)
		}
		v.MaxLateSeconds = max(v.MaxLateSeconds, (waited - gap*11/10).Seconds())
	}
}

// longestGap is the longest time without a request between from and to.
func longestGap(seen []receiver.Record, from, to time.Time) (longest time.Duration) {
	slices.SortFunc(seen, func(a, b receiver.Record) int { return a.Arrived.Compare(b.Arrived) })
	last := from
	for _, r := range seen {
		if r.Arrived.After(last) && r.Arrived.Before(to) {
			longest = max(longest, r.Arrived.Sub(last))
			last = r.Arrived
		}
	}
	return max(longest, to.Sub(last))
}

// judge tells which promises were broken.
func (v *verdict) judge() {
	if v.Lost != 0 {
		v.Broken = append(v.Broken, fmt.Sprintf("%d of %d deliveries lost", v.Lost, v.Created))
	}
	if extra := v.Duplicates - v.AllowedDuplicates; extra != 0 {
		v.Broken = append(v.Broken, fmt.Sprintf("%d requests repeated without a crash: %s", extra,
			strings.Join(v.unexplained[:min(5, len(v.unexplained))], ", ")))
	}
	if v.Invented != 0 {
		v.Broken = append(v.Broken, fmt.Sprintf("%d answers recorded to requests that were not made", v.Invented))
	}
	if v.EarlyRetries != 0 {
		v.Broken = append(v.Broken, fmt.Sprintf("%d retries came early, by up to %s", v.EarlyRetries, v.earliest))
	}
	v.Pass = len(v.Broken) == 0
}
