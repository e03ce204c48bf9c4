// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// flushPause is between two rounds of Flush.
const flushPause = 200 * time.Millisecond

// Flush waits for the requests in flight and writes what the controller, which has stopped, could not: after a lost
// lease or with the API server away. It returns when all is written, or with an error that counts what is not when ctx
// ends. A write that another process has overtaken does no harm: it carries the resource version that it was based on.
func (r *Reconciler) Flush(ctx context.Context) error {
	for {
		r.writeHeld(ctx)
		unwritten, inFlight := r.ledger.load()
		if unwritten == 0 && inFlight == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d outcomes unwritten and %d requests in flight: these attempts will be repeated",
				unwritten, inFlight)
		case <-time.After(flushPause):
		}
	}
}

// writeHeld tries once to write each outcome, as many at a time as the controller has workers for it.
func (r *Reconciler) writeHeld(ctx context.Context) {
	var working sync.WaitGroup
	slots := make(chan struct{}, writers)
	for _, key := range r.ledger.keys() {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			if out := r.ledger.held(key); out != nil && ctx.Err() == nil {
				// An error leaves the outcome where it was, for the next round.
				_, _ = r.record(ctx, key, out)
			}
		})
	}
	working.Wait()
}
