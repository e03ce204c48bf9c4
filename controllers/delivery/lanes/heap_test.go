// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"container/heap"
	"math/rand/v2"
	"testing"
)

func TestMinHeap(t *testing.T) {
	const size = 10_000
	var h minHeap[*line[int]]
	for _, turn := range rand.New(rand.NewPCG(1, 1)).Perm(size) {
		heap.Push(&h, &line[int]{turn: uint64(turn)})
	}
	if h[0].turn != 0 || cap(h) < size {
		t.Fatalf("first %d, room for %d", h[0].turn, cap(h))
	}
	for want := range uint64(size) {
		if got := heap.Pop(&h).(*line[int]); got.turn != want || got.index != -1 {
			t.Fatalf("got %d at %d, want %d", got.turn, got.index, want)
		}
		if cap(h) > smallest && cap(h) > 4*len(h)+4 {
			t.Fatalf("room for %d with %d left", cap(h), len(h))
		}
		for _, dropped := range h[len(h):cap(h)] {
			if dropped != nil {
				t.Fatalf("%d is still referred to with %d left", dropped.turn, len(h))
			}
		}
		for i, ln := range h[:min(len(h), 10)] {
			if ln.index != i {
				t.Fatalf("%d is at %d and thinks it is at %d", ln.turn, i, ln.index)
			}
		}
	}
}
