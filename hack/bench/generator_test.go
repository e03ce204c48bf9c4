// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestFlatOutCallsWithEachNumberOnce(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var calls [100]atomic.Int32
		var now, most atomic.Int32
		took, err := flatOut(t.Context(), 8, len(calls), func(_ context.Context, i int) error {
			for n := now.Add(1); ; {
				if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
					break
				}
			}
			time.Sleep(time.Second)
			now.Add(-1)
			calls[i].Add(1)
			return nil
		})
		if err != nil || took != 13*time.Second || most.Load() != 8 {
			t.Errorf("took %s with %d at once (%v), want 13 s with 8", took, most.Load(), err)
		}
		for i := range calls {
			if n := calls[i].Load(); n != 1 {
				t.Errorf("%d calls with %d", n, i)
			}
		}
	})
}

func TestFlatOutEndsAtTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	var calls atomic.Int32
	_, err := flatOut(t.Context(), 2, 1000, func(context.Context, int) error {
		calls.Add(1)
		return broken
	})
	if !errors.Is(err, broken) || calls.Load() > 2 {
		t.Errorf("%d calls, error %v", calls.Load(), err)
	}
}

func TestPacedKeepsItsRateWhateverTheCallsTake(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		began := time.Now()
		var started [5]time.Duration
		err := paced(t.Context(), 10, len(started), func(_ context.Context, i int) error {
			started[i] = time.Since(began)
			time.Sleep(time.Second)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, at := range started {
			if want := time.Duration(i) * 100 * time.Millisecond; at != want {
				t.Errorf("call %d began after %s, want %s", i, at, want)
			}
		}
	})
}

func TestPacedEndsAtTheFirstError(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var calls atomic.Int32
		err := paced(t.Context(), 10, 1000, func(context.Context, int) error {
			calls.Add(1)
			return broken
		})
		if !errors.Is(err, broken) || calls.Load() > 2 {
			t.Errorf("%d calls, error %v", calls.Load(), err)
		}
	})
}
