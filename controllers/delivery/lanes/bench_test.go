// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"math"
	"testing"
)

// crowded is Lanes whose slots are all in use, with ten keys parked for each place.
type crowded struct {
	lanes  *Lanes[int]
	places []Place
	woken  []int
	held   []int // keys, in the order of their slots
	free   map[int]func()
}

func newCrowded(b *testing.B, limits Limits, places []Place) *crowded {
	b.Helper()
	c := &crowded{free: map[int]func(){}, places: places}
	l, err := New(limits, func(key int) { c.woken = append(c.woken, key) })
	if err != nil {
		b.Fatal(err)
	}
	c.lanes = l
	for key := 0; l.Snapshot().Parked < 10*len(places); key++ {
		c.take(key)
	}
	return c
}

func (c *crowded) take(key int) {
	if release, ok := c.lanes.Acquire(key, c.places[key%len(c.places)]); ok {
		c.held = append(c.held, key)
		c.free[key] = release
	}
}

// turn releases the slot taken longest ago, parks its key again, and has the keys that were woken take their slots.
func (c *crowded) turn() {
	key := c.held[0]
	c.held = c.held[1:]
	c.free[key]()
	delete(c.free, key)
	c.take(key)
	for _, key := range c.woken {
		c.take(key)
	}
	c.woken = c.woken[:0]
}

// BenchmarkHandOver hands a slot from one key to the next while ten keys are parked at each place: one release, the
// Acquire that takes the reservation, and the one that parks the first key again.
func BenchmarkHandOver(b *testing.B) {
	for _, bc := range []struct {
		name       string
		limits     func(places int) Limits
		namespaces func(places int) int // that share each endpoint
	}{
		{"total-short", func(int) Limits { return Limits{8, 4, 8} }, one},
		{"endpoints-short", func(places int) Limits { return Limits{places, 1, places} }, one},
		{"namespace-short", func(places int) Limits { return Limits{2 * places, 4, 8} }, one},
		{"shared-endpoint-short", func(places int) Limits { return Limits{2 * places, 8, 4} }, all},
		{"all-short", func(int) Limits { return Limits{64, 8, 32} }, root},
		// Every endpoint and every namespace is at its bound: the dearest case, see "Cost".
		{"both-short-everywhere", func(places int) Limits { return Limits{places, 1, 1} }, root},
	} {
		for _, n := range []int{100, 1_000, 10_000} {
			places := grid(n, bc.namespaces(n))
			b.Run(fmt.Sprintf("%s/places=%d", bc.name, n), func(b *testing.B) {
				c := newCrowded(b, bc.limits(n), places)
				b.ReportAllocs()
				for b.Loop() {
					c.turn()
				}
			})
		}
	}
}

func one(int) int { return 1 }

func all(places int) int { return places }

func root(places int) int { return int(math.Sqrt(float64(places))) }

// grid returns n places, where each endpoint is shared by so many namespaces.
func grid(n, namespaces int) []Place {
	places := make([]Place, n)
	for i := range places {
		places[i] = Place{
			Endpoint:  fmt.Sprintf("https://host-%d.example:443", i/namespaces),
			Namespace: fmt.Sprint("namespace-", i%namespaces),
		}
	}
	return places
}

// BenchmarkBystander takes and releases a slot at a place that is free while others are blocked.
func BenchmarkBystander(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("blocked=%d", n), func(b *testing.B) {
			c := newCrowded(b, Limits{Total: n + 1, PerEndpoint: 1, PerNamespace: n + 1}, grid(n, 1))
			b.ReportAllocs()
			for key := -1; b.Loop(); key-- {
				release, ok := c.lanes.Acquire(key, Place{Endpoint: "https://free.example:443", Namespace: "b"})
				if !ok {
					b.Fatal("not free")
				}
				release()
			}
		})
	}
}

// BenchmarkParkAndForget parks a key behind others and takes it out of line.
func BenchmarkParkAndForget(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("places=%d", n), func(b *testing.B) {
			c := newCrowded(b, Limits{8, 4, 8}, grid(n, 1))
			b.ReportAllocs()
			for key := -1; b.Loop(); key-- {
				if _, ok := c.lanes.Acquire(key, c.places[-key%n]); ok {
					b.Fatal("free")
				}
				c.lanes.Forget(key)
			}
		})
	}
}

// BenchmarkSnapshot reads the state while many keys are parked.
func BenchmarkSnapshot(b *testing.B) {
	c := newCrowded(b, Limits{8, 4, 8}, grid(10_000, 1))
	b.ReportAllocs()
	for b.Loop() {
		if c.lanes.Snapshot().Parked == 0 {
			b.Fatal("none parked")
		}
	}
}
