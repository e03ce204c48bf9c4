// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import "container/heap"

// item is an element of a minHeap that knows its index there.
type item[T any] interface {
	before(other T) bool
	moved(index int)
}

// minHeap is a heap of container/heap whose first element comes before all others, and which gives memory back.
type minHeap[T item[T]] []T

var _ heap.Interface = (*minHeap[*line[int]])(nil)

func (h minHeap[T]) Len() int { return len(h) }

func (h minHeap[T]) Less(i, j int) bool { return h[i].before(h[j]) }

func (h minHeap[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].moved(i)
	h[j].moved(j)
}

// Push is called by container/heap.
func (h *minHeap[T]) Push(x any) {
	x.(T).moved(len(*h))
	*h = append(*h, x.(T))
}

// Pop is called by container/heap.
func (h *minHeap[T]) Pop() any {
	items := *h
	last := items[len(items)-1]
	last.moved(-1)
	clear(items[len(items)-1:])
	items = items[:len(items)-1]
	if cap(items) > smallest && len(items) <= cap(items)/4 {
		items = append(make([]T, 0, 2*len(items)), items...)
	}
	*h = items
	return last
}
