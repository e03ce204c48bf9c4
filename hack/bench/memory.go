// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// restTime is how long a manager is left alone before its memory is looked at.
const restTime = 5 * time.Second

// footprint is what a manager holds.
type footprint struct {
	// residentMiB is its memory at rest, maxMiB the most it has held since it was started.
	residentMiB, maxMiB float64
	// heapBytes is what is left on its heap after a garbage collection.
	heapBytes float64
	// start is how long it took to make its first request.
	start time.Duration
}

// footprint starts a manager, lets it come to rest, and stops it. A profile of its heap gets that name.
func (c *cluster) footprint(ctx context.Context, name string) (p footprint, err error) {
	if p.start, err = c.startManager(ctx); err != nil {
		return p, err
	}
	if err := pause(ctx, restTime); err != nil {
		return p, err
	}
	if p.residentMiB, err = residentMiB(c.manager.PID()); err != nil {
		return p, err
	}
	if p.maxMiB, err = maxResidentMiB(c.manager.PID()); err != nil {
		return p, err
	}
	if err := c.collectGarbage(ctx, name); err != nil {
		return p, err
	}
	metrics, err := c.managerMetrics(ctx)
	if err != nil {
		return p, err
	}
	p.heapBytes = metrics.heapBytes
	return p, c.stopManager()
}

// twoFootprints returns what a manager holds without objects, and with so many of that status.
func twoFootprints(
	ctx context.Context, s settings, name string, count int, status v1alpha1.WebhookDeliveryStatus,
) (empty, full footprint, err error) {
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, status)
		if err != nil {
			return err
		}
		if empty, err = c.footprint(ctx, name+"-empty"); err != nil {
			return err
		}
		later := time.Now().Add(24 * time.Hour)
		if _, err := c.seed(ctx, count, func(i int) []byte { return t.due(i, later) }); err != nil {
			return err
		}
		full, err = c.footprint(ctx, name+"-full")
		return err
	})
	return empty, full, err
}

// history compares the manager's memory and start with many finished objects present to the same with none.
func history(ctx context.Context, s settings) (f figures, err error) {
	count := s.count(20_000)
	empty, full, err := twoFootprints(ctx, s, "history", count, deliveredStatus())
	f.add("objects", float64(count))
	f.add("rss_mib_empty", empty.residentMiB)
	f.add("rss_mib_full", full.residentMiB)
	f.add("rss_mib_more", full.residentMiB-empty.residentMiB)
	f.add("max_rss_mib_empty", empty.maxMiB)
	f.add("max_rss_mib_full", full.maxMiB)
	f.add("start_seconds_empty", empty.start.Seconds())
	f.add("start_seconds", full.start.Seconds())
	return f, err
}

// pending compares the manager's memory with many objects that wait for their retry to that with none. No retry is due
// meanwhile.
func pending(ctx context.Context, s settings) (f figures, err error) {
	count := s.count(10_000)
	empty, full, err := twoFootprints(ctx, s, "pending", count, waitingStatus())
	f.add("objects", float64(count))
	f.add("bytes_per_object", (full.residentMiB-empty.residentMiB)*(1<<20)/float64(count))
	f.add("max_bytes_per_object", (full.maxMiB-empty.maxMiB)*(1<<20)/float64(count))
	f.add("heap_bytes_per_object", (full.heapBytes-empty.heapBytes)/float64(count))
	f.add("rss_mib_empty", empty.residentMiB)
	f.add("rss_mib_full", full.residentMiB)
	f.add("start_seconds_empty", empty.start.Seconds())
	f.add("start_seconds", full.start.Seconds())
	return f, err
}
