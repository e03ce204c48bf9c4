// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	// startAllowance is how long the manager may take to start before the first retry is due.
	startAllowance = 10 * time.Second
	// lastRetryAllowance is how long after the last retry was due all may take to arrive.
	lastRetryAllowance = time.Minute
	// maxSpread leaves room for the start within the longest wait that a manager believes after an answer of 503, which
	// is that of --retry-after-max.
	maxSpread = 4 * time.Minute
)

// punctuality measures how late retries are that another manager has promised, while many wait: from the recorded time
// of the next attempt until the receiver has the header of its request.
func punctuality(ctx context.Context, s settings) (f figures, err error) {
	count, spread := s.count(10_000), s.duration(time.Minute)
	if spread > maxSpread {
		return f, fmt.Errorf("retries can be spread over %s at most: the manager trusts no longer wait", maxSpread)
	}
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, waitingStatus())
		if err != nil {
			return err
		}
		finished, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, deliveredStatus())
		if err != nil {
			return err
		}
		// Objects record when they are due, so how long it takes to make them must be known before.
		perSecond, err := c.seed(ctx, 500, finished.object)
		if err != nil {
			return err
		}
		making := time.Duration(float64(count) / perSecond * 1.3 * float64(time.Second))
		first := time.Now().Add(making + startAllowance)
		due := func(i int) time.Time { // to the microsecond, as it is recorded
			return first.Add(spread * time.Duration(i) / time.Duration(count)).Truncate(time.Microsecond)
		}
		if _, err := c.seed(ctx, count, func(i int) []byte { return t.due(i, due(i)) }); err != nil {
			return err
		}
		if _, err := c.startManager(ctx); err != nil {
			return err
		}
		ready := time.Now()
		c.settings.progress("the first of %d retries is due in %.1f s", count, time.Until(first).Seconds())
		l, err := c.lateness(ctx, count, due, ready)
		if err != nil {
			return err
		}
		f.add("measured", float64(len(l.late)))
		f.add("early", float64(l.early))
		f.add("missing", float64(l.missing))
		f.add("repeated", float64(l.repeated))
		f.add("p50_late_ms", percentile(l.late, 0.5))
		f.add("p99_late_ms", percentile(l.late, 0.99))
		f.add("max_late_ms", percentile(l.late, 1))
		return nil
	})
	return f, err
}

// lateness is how late retries were, in milliseconds.
type lateness struct {
	late                     []float64
	early, missing, repeated int
}

// lateness waits until all retries have arrived, or should have. Those that were due before the manager was ready only
// count if they were early.
func (c *cluster) lateness(
	ctx context.Context, count int, due func(i int) time.Time, ready time.Time,
) (l lateness, err error) {
	waiting, cancel := context.WithDeadline(ctx, due(count-1).Add(lastRetryAllowance))
	defer cancel()
	if err := c.received(waiting, count); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return l, err
	}
	arrived := map[string]receiver.Record{}
	for _, r := range c.inbox.Requests() {
		if _, ok := arrived[r.TaskID]; ok {
			l.repeated++
			continue
		}
		arrived[r.TaskID] = r
	}
	l.add(count, due, ready, arrived)
	if len(l.late) == 0 {
		return l, fmt.Errorf("all %d retries were due before the manager was ready: give it fewer", count)
	}
	return l, nil
}

func (l *lateness) add(
	count int, due func(i int) time.Time, ready time.Time, arrived map[string]receiver.Record,
) {
	for i := range count {
		r, ok := arrived[taskName(i)]
		at := due(i)
		switch {
		case !ok:
			l.missing++
			continue
		case r.Arrived.Before(at):
			l.early++
		}
		if at.After(ready) {
			l.late = append(l.late, milliseconds(r.Arrived.Sub(at)))
		}
	}
}
