// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// flatOut calls do with 0 to count-1, from that many clients at once, each with the next number as soon as it is free.
// It returns how long that took, and the first error, after which no call begins.
func flatOut(
	ctx context.Context, clients, count int, do func(ctx context.Context, i int) error,
) (time.Duration, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range min(clients, count) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	workers.Wait()
	return time.Since(began), context.Cause(ctx)
}

// paced calls do with 0 to count-1, each at its time: so many in a second, whether or not the earlier ones have
// returned. It returns when all have, with the first error, after which no call begins.
func paced(ctx context.Context, perSecond, count int, do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var calls sync.WaitGroup
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range count {
		timer.Reset(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		calls.Go(func() {
			if err := do(ctx, i); err != nil {
				fail(err)
			}
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}
