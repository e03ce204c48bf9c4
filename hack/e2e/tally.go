// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// gaps is the published schedule.
var gaps = []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second}

// tally holds deliveries against requests.
type tally struct {
	deliveries, requests int
	// lost are deliveries that have vanished, have not ended, or have ended as the receiver cannot have made them.
	lost int
	// duplicates are requests beyond the attempts that are recorded. allowed is how many of them a crash may cause.
	duplicates, allowed int
	// early are retries before their gap was over.
	early int
}

// count holds what is stored of the created deliveries against what the receiver saw, by webhook-id.
func count(created int, stored []v1alpha1.WebhookDelivery, seen map[string][]receiver.Record) tally {
	t := tally{deliveries: created, lost: created - len(stored)}
	for i := range stored {
		d := &stored[i]
		requests := seen[string(d.UID)]
		t.requests += len(requests)
		accepted := slices.ContainsFunc(requests, func(r receiver.Record) bool { return r.Status/100 == 2 })
		if !d.IsFinished() || d.IsDelivered() != accepted {
			t.lost++
		}
		t.duplicates += max(0, len(requests)-len(d.Status.Attempts))
		t.early += early(d, requests)
	}
	return t
}

// early counts the retries of d before the gap was over. A repeated request is none: where there are more requests than
// attempts, only how the recorded attempts follow each other can tell.
func early(d *v1alpha1.WebhookDelivery, requests []receiver.Record) (n int) {
	if len(requests) != len(d.Status.Attempts) {
		for i := 1; i < len(d.Status.Attempts); i++ {
			before, next := d.Status.Attempts[i-1], d.Status.Attempts[i]
			end := before.StartTime.Add(time.Duration(before.DurationMilliseconds) * time.Millisecond)
			if next.StartTime.Sub(end) < gaps[i-1] {
				n++
			}
		}
		return n
	}
	for i := 1; i < len(requests); i++ {
		before, next := requests[i-1], requests[i]
		if next.Elapsed-before.Elapsed-before.Took < gaps[i-1] {
			n++
		}
	}
	return n
}

// broken says which promises were.
func (t tally) broken() error {
	var broken []error
	if t.lost != 0 {
		broken = append(broken, fmt.Errorf("%d of %d deliveries lost", t.lost, t.deliveries))
	}
	if t.duplicates > t.allowed {
		broken = append(broken, fmt.Errorf("%d requests repeated, at most %d may be", t.duplicates, t.allowed))
	}
	if t.early != 0 {
		broken = append(broken, fmt.Errorf("%d retries came early", t.early))
	}
	return errors.Join(broken...)
}

// plus is both together.
func (t tally) plus(u tally) tally {
	return tally{
		deliveries: t.deliveries + u.deliveries, requests: t.requests + u.requests, lost: t.lost + u.lost,
		duplicates: t.duplicates + u.duplicates, allowed: t.allowed + u.allowed, early: t.early + u.early,
	}
}
