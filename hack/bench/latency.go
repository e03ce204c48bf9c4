// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// latency measures, at a steady rate, the time from the start of an object's creation until the receiver has the header
// of its request, and until a bare watch client has seen the same object.
func latency(ctx context.Context, s settings) (f figures, err error) {
	count := s.rate * int(s.duration(20*time.Second).Seconds())
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		if _, err := c.startManager(ctx); err != nil {
			return err
		}
		creates, watched, received, err := c.latencies(ctx, s.rate, count)
		if err != nil {
			return err
		}
		f.add("create_p50_ms", percentile(creates, 0.5))
		f.add("create_p99_ms", percentile(creates, 0.99))
		f.add("watch_p50_ms", percentile(watched, 0.5))
		f.add("watch_p99_ms", percentile(watched, 0.99))
		f.add("p50_ms", percentile(received, 0.5))
		f.add("p99_ms", percentile(received, 0.99))
		f.add("p50_ratio", ratio(percentile(received, 0.5), percentile(watched, 0.5)))
		f.add("p99_ratio", ratio(percentile(received, 0.99), percentile(watched, 0.99)))
		return nil
	})
	return f, err
}

// latencies creates objects at a steady rate and returns, each in milliseconds from the start of its creation, when the
// creation was answered, when a watch client saw it, and when the receiver had its request.
func (c *cluster) latencies(ctx context.Context, rate, count int) (creates, watched, received []float64, err error) {
	namespace, err := c.namespace(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := c.api.watch(ctx, namespace)
	if err != nil {
		return nil, nil, nil, err
	}
	began := make([]time.Time, count)
	creates = make([]float64, count)
	err = paced(ctx, rate, count, func(ctx context.Context, i int) error {
		body := t.object(i)
		began[i] = time.Now()
		_, err := c.api.create(ctx, collection(namespace), body)
		creates[i] = milliseconds(time.Since(began[i]))
		return err
	})
	if err == nil {
		err = c.received(ctx, count)
	}
	if err == nil {
		err = poll(ctx, "the watch client", func() (bool, error) { return seen.atLeast(count) })
	}
	if err != nil {
		return nil, nil, nil, err
	}
	arrived := map[string]time.Time{}
	for _, r := range c.inbox.Requests() {
		arrived[r.TaskID] = r.Arrived
	}
	for i := range count {
		at, ok := seen.of(taskName(i))
		if !ok {
			return nil, nil, nil, fmt.Errorf("the watch client missed %s", taskName(i))
		}
		watched = append(watched, milliseconds(at.Sub(began[i])))
		received = append(received, milliseconds(arrived[taskName(i)].Sub(began[i])))
	}
	return creates, watched, received, nil
}
