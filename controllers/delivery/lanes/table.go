// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import "maps"

// smallest is the size below which giving memory back is not worth a copy.
const smallest = 64

// table is a map that gives memory back: a Go map keeps the room of its largest size. The zero value is ready.
type table[K comparable, V any] struct {
	entries map[K]V
	peak    int // the most entries since the map was made
}

func (t *table[K, V]) get(key K) (V, bool) {
	value, ok := t.entries[key]
	return value, ok
}

func (t *table[K, V]) put(key K, value V) {
	if t.entries == nil {
		t.entries = map[K]V{}
	}
	t.entries[key] = value
	t.peak = max(t.peak, len(t.entries))
}

func (t *table[K, V]) remove(key K) {
	delete(t.entries, key)
	if t.peak < smallest || len(t.entries) > t.peak/4 {
		return
	}
	entries := make(map[K]V, len(t.entries))
	maps.Copy(entries, t.entries)
	t.entries, t.peak = entries, len(entries)
}
