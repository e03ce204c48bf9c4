// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
)

// flushPause is between two rounds of Flush.
const flushPause = 200 * time.Millisecond

// Flush waits for the requests in flight and writes what the controller, which has stopped, could not: after a lost
// lease or with the API server away. It returns when all is written, or with an error that counts what is not: when ctx
// ends, or when the operator has lacked the right to write all that is left for a moment. A write that another process
// has overtaken does no harm: it carries the resource version that it was based on.
//
// A status that the API server has refused to store is offered once more, as the next leader would not know of it.
func (r *Reconciler) Flush(ctx context.Context) error {
	busy := time.Now()
	for offered := false; ; offered = true {
		r.forEach(ctx, r.ledger.left(), r.writeHeld)
		if !offered {
			r.forEach(ctx, r.ledger.unstored(), r.offerOnce)
		}
		unwritten, inFlight := r.ledger.load()
		if unwritten+inFlight == 0 {
			return nil
		}
		if r.Busy() {
			busy = time.Now()
		}
		if ctx.Err() != nil || time.Since(busy) >= rightsConfirmation {
			return fmt.Errorf("%d outcomes unwritten and %d requests in flight: these attempts will be repeated",
				unwritten, inFlight)
		}
		select {
		case <-ctx.Done():
		case <-time.After(flushPause):
		}
	}
}

// Busy reports whether this process is sending, or has sent what it has not recorded and has the right to.
func (r *Reconciler) Busy() bool {
	unwritten, inFlight := r.ledger.load()
	return unwritten+inFlight > r.ledger.hopeless()
}

// forEach calls write for each key, as many at a time as the controller has workers for it, until ctx ends.
func (r *Reconciler) forEach(
	ctx context.Context, keys []types.NamespacedName, write func(context.Context, types.NamespacedName),
) {
	var working errgroup.Group
	working.SetLimit(writers)
	for _, key := range keys {
		working.Go(func() error {
			if ctx.Err() == nil {
				write(ctx, key)
			}
			return nil
		})
	}
	_ = working.Wait()
}

// writeHeld tries once to write an outcome. An error leaves it where it was, for the next round.
func (r *Reconciler) writeHeld(ctx context.Context, key types.NamespacedName) {
	if out := r.ledger.held(key); out != nil {
		_, _ = r.record(ctx, key, out)
	}
}

// offerOnce offers a refused status again. If it is refused again, that has been told before.
func (r *Reconciler) offerOnce(ctx context.Context, key types.NamespacedName) {
	if d, _, _ := r.read(ctx, key); d != nil && r.ledger.isRefused(key) {
		_, _ = r.offerAgain(ctx, key, d)
	}
}
