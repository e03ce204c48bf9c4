// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"testing"
)

// inSight counts the places that are blocked by a bound of their own and yet would be looked at for a free slot.
func inSight(l *Lanes[int]) int {
	n := 0
	for _, ln := range l.lines.entries {
		if ln.at != nil && ln.at.index >= 0 && ln.shut() != nil {
			n++
		}
	}
	return n
}

// TestBlockedOutOfSight blocks a thousand places and finds none of them among those that a free slot is offered to.
func TestBlockedOutOfSight(t *testing.T) {
	const places = 1_000
	for name, tc := range map[string]struct {
		limits Limits
		others int // keys that hold a slot each at places of their own before the thousand come, so many of them in a
		inA    int
		free   int // of those slots, released afterwards
	}{
		"each endpoint at its bound":                    {limits: Limits{places, 1, places}},
		"the namespace at its bound":                    {limits: Limits{places, 8, 4}, others: 8, inA: 4},
		"the namespace at its bound, the total used up": {limits: Limits{8, 8, 4}, others: 8, inA: 4},
		"the namespace reaches its bound later":         {limits: Limits{8, 8, 4}, others: 8, inA: 3, free: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := New(tc.limits, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			var held []func()
			for i := range tc.others {
				p := Place{Endpoint: fmt.Sprint("other-", i), Namespace: fmt.Sprint("other-", i)}
				if i >= tc.others-tc.inA {
					p.Namespace = "a"
				}
				release, ok := l.Acquire(-1-i, p)
				if !ok {
					t.Fatal("no slot")
				}
				held = append(held, release)
			}
			for key := range 2 * places {
				l.Acquire(key, Place{Endpoint: fmt.Sprint(key % places), Namespace: "a"})
			}
			releaseAll(held[:tc.free])
			if tc.free > 0 && !l.namespaces.entries["a"].full() {
				t.Fatal("the namespace is not at its bound")
			}
			if n := inSight(l); n > 0 || l.Snapshot().Parked < places-tc.limits.PerNamespace {
				t.Errorf("%d blocked places are in sight, %+v", n, l.Snapshot())
			}
			checkStructure(t, l)
		})
	}
}
