// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"runtime"
	"testing"
)

// fill parks keys in total at the endpoints, spread over the namespaces, behind slots that it holds, and returns their
// releases. No place has room afterwards.
func fill(tb testing.TB, l *Lanes[int], endpoints, namespaces, keys int) []func() {
	tb.Helper()
	var held []func()
	for key := 0; l.Snapshot().Parked < keys; key++ {
		place := Place{Endpoint: fmt.Sprintf("https://host-%d.example:443", key%endpoints)}
		place.Namespace = fmt.Sprint("namespace-", key%endpoints%namespaces)
		if release, ok := l.Acquire(key, place); ok {
			held = append(held, release)
		}
		if key > 10*keys {
			tb.Fatalf("%d keys and only %d parked", key, l.Snapshot().Parked)
		}
	}
	return held
}

func releaseAll(held []func()) {
	for _, release := range held {
		release()
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestIdleVanishes empties Lanes in the ways they can empty, and finds the memory given back.
func TestIdleVanishes(t *testing.T) {
	const endpoints, namespaces, keys = 5_000, 50, 50_000
	for name, tc := range map[string]struct {
		limits       Limits
		releaseFirst bool
	}{
		"forgotten, then released":    {limits: Limits{100, 8, 50}},
		"released, then forgotten":    {limits: Limits{100, 8, 50}, releaseFirst: true},
		"every endpoint at its bound": {limits: Limits{endpoints, 1, endpoints}, releaseFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			var woken []int
			l, err := New(tc.limits, func(key int) { woken = append(woken, key) })
			if err != nil {
				t.Fatal(err)
			}
			before := heapInUse()
			held := fill(t, l, endpoints, namespaces, keys)
			full := heapInUse()
			if tc.releaseFirst {
				releaseAll(held)
				for i := 0; i < len(woken); i++ { // forgetting one wakes the next
					l.Forget(woken[i])
				}
			} else {
				for key := range 2 * keys {
					l.Forget(key)
				}
				releaseAll(held)
			}
			woken = nil
			after := heapInUse()
			checkEmpty(t, l)
			if after > before+(full-before)/100 {
				t.Errorf("heap before %d, full %d, after %d bytes", before, full, after)
			}
			t.Logf("%d bytes a parked key, %d bytes left", (full-before)/keys, int64(after)-int64(before))
			runtime.KeepAlive(l)
		})
	}
}
