// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// run is what it took to create deliveries and to have their outcomes in their status.
type run struct {
	objects int
	elapsed time.Duration
	usage   usage
	metrics managerMetrics // of runs with a manager
	// maxMiB is the most memory the manager has held since it was started.
	maxMiB float64
}

func (r run) perSecond() float64 { return ratio(float64(r.objects), r.elapsed.Seconds()) }

// per1000 tells a share of the usage by 1,000 deliveries.
func (r run) per1000(of func(usage) float64) float64 {
	return ratio(1000*of(r.usage), float64(r.objects))
}

func (r run) writesPerDelivery() float64 { return ratio(r.metrics.writes, float64(r.objects)) }
func (r run) readsPerDelivery() float64  { return ratio(r.metrics.reads, float64(r.objects)) }

// sum returns all runs as if they were one.
func sum(runs []run) (all run) {
	for _, r := range runs {
		all.objects += r.objects
		all.elapsed += r.elapsed
		all.usage = all.usage.plus(r.usage)
	}
	return all
}

// floorRun creates deliveries and writes the status of each as soon as it is created: what no operator can do with
// less.
func (c *cluster) floorRun(ctx context.Context, count int, t template) (run, error) {
	status, err := json.Marshal(deliveredStatus())
	if err != nil {
		return run{}, err
	}
	namespace, err := c.namespace(ctx)
	if err != nil {
		return run{}, err
	}
	path := collection(namespace)
	return c.measure(count, func() (time.Duration, error) {
		return flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) error {
			version, err := c.api.create(ctx, path, t.object(i))
			if err != nil {
				return err
			}
			return c.api.writeStatus(ctx, path+"/"+taskName(i), version, status)
		})
	})
}

// operatorRun creates deliveries and waits until the manager has recorded each as finished.
func (c *cluster) operatorRun(ctx context.Context, count int, t template) (run, error) {
	namespace, err := c.namespace(ctx)
	if err != nil {
		return run{}, err
	}
	c.inbox.Reset()
	before, err := c.managerMetrics(ctx)
	if err != nil {
		return run{}, err
	}
	r, err := c.measure(count, func() (time.Duration, error) {
		began := time.Now()
		if _, err := flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) error {
			_, err := c.api.create(ctx, collection(namespace), t.object(i))
			return err
		}); err != nil {
			return 0, err
		}
		if err := c.received(ctx, count); err != nil {
			return 0, err
		}
		err := c.settled(ctx, namespace)
		return time.Since(began), err
	})
	if err != nil {
		return r, err
	}
	after, err := c.managerMetrics(ctx)
	if err != nil {
		return r, err
	}
	r.metrics = after.since(before)
	r.maxMiB, err = maxResidentMiB(c.manager.PID())
	return r, err
}

// measure adds what the processes have used meanwhile to how long do says that it took.
func (c *cluster) measure(count int, do func() (time.Duration, error)) (run, error) {
	before, err := c.usage()
	if err != nil {
		return run{}, err
	}
	elapsed, err := do()
	if err != nil {
		return run{}, err
	}
	after, err := c.usage()
	return run{objects: count, elapsed: elapsed, usage: after.since(before)}, err
}

// duel measures the floor and the operator in turns, with payloads of that size.
func (c *cluster) duel(ctx context.Context, rounds, count, size int) (floor, operated []run, err error) {
	t, err := newTemplate(c.inbox.URL()+"/ok", size, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return nil, nil, err
	}
	// What is the first to run would pay for connections, and for what the API server makes when it is first needed.
	if _, err := c.floorRun(ctx, 2*c.settings.clients, t); err != nil {
		return nil, nil, err
	}
	for range rounds {
		r, err := c.floorRun(ctx, count, t)
		if err != nil {
			return nil, nil, err
		}
		floor = append(floor, r)
		if _, err := c.startManager(ctx); err != nil {
			return nil, nil, err
		}
		if r, err = c.operatorRun(ctx, count, t); err != nil {
			return nil, nil, err
		}
		operated = append(operated, r)
		c.settings.progress("%d bytes: floor %.0f/s, delivered %.0f/s", size, floor[len(floor)-1].perSecond(),
			r.perSecond())
		if err := c.stopManager(); err != nil {
			return nil, nil, err
		}
	}
	return floor, operated, nil
}
