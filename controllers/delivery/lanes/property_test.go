// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	someEndpoints  = 4
	someNamespaces = 3
	someKeys       = 24
	rounds         = 8 // of rapid's usual number of actions, so that bounds are reached and left again
)

// passes bounds how often others go before a key that is first at its place while all three bounds let it pass: once
// around the namespaces of its endpoint, where each turn of the endpoint comes after at most one turn, and the claims
// and the line of every namespace, at each endpoint.
const passes = someNamespaces * someEndpoints * (2*someNamespaces + 4)

// trial drives Lanes and the model alike. What it demands of both it derives from its own books and lines.
type trial struct {
	t      *rapid.T
	lanes  *Lanes[string]
	model  *model
	books  books
	lines  map[Place][]string // parked keys in the order of their coming
	passed map[Place]int      // how often others went before the first key there, though it had room
	held   map[string]func()  // by the name of the slot
	slots  int
	woken  []string
}

func newTrial(t *rapid.T) *trial {
	limits := Limits{Total: rapid.IntRange(1, 8).Draw(t, "total")}
	limits.PerEndpoint = rapid.IntRange(1, limits.Total).Draw(t, "per endpoint")
	limits.PerNamespace = rapid.IntRange(1, limits.Total).Draw(t, "per namespace")
	tr := &trial{
		t: t, model: newModel(limits), books: newBooks(limits), lines: map[Place][]string{}, passed: map[Place]int{},
		held: map[string]func(){},
	}
	l, err := New(limits, func(key string) {
		if !tr.lanes.mu.TryLock() {
			t.Fatal("wake was called under the lock")
		}
		tr.lanes.mu.Unlock()
		tr.woken = append(tr.woken, key)
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.lanes = l
	return tr
}

func drawKey(t *rapid.T) string { return fmt.Sprint("k", rapid.IntRange(1, someKeys).Draw(t, "key")) }

func drawPlace(t *rapid.T) Place {
	return Place{
		Endpoint:  fmt.Sprint("e", rapid.IntRange(1, someEndpoints).Draw(t, "endpoint")),
		Namespace: fmt.Sprint("n", rapid.IntRange(1, someNamespaces).Draw(t, "namespace")),
	}
}

// place returns where key is parked or has a reservation.
func (tr *trial) place(key string) (Place, bool) {
	if p, ok := tr.books.kept[key]; ok {
		return p, true
	}
	for p, keys := range tr.lines {
		if slices.Contains(keys, key) {
			return p, true
		}
	}
	return Place{}, false
}

// unpark takes key out of the trial's own records.
func (tr *trial) unpark(key string) {
	p, ok := tr.place(key)
	if !ok {
		return
	}
	if _, kept := tr.books.kept[key]; kept {
		delete(tr.books.kept, key)
		return
	}
	if tr.lines[p][0] == key {
		delete(tr.passed, p)
	}
	tr.lines[p] = slices.DeleteFunc(tr.lines[p], func(k string) bool { return k == key })
	if len(tr.lines[p]) == 0 {
		delete(tr.lines, p)
	}
}

func (tr *trial) acquire(key string, p Place) {
	tr.slots++
	slot := fmt.Sprint(key, "/", tr.slots)
	tr.woken = nil
	release, ok := tr.lanes.Acquire(key, p)
	wantOK, woken := tr.model.acquire(key, slot, p)
	if ok != wantOK || (release != nil) != ok {
		tr.t.Fatalf("Acquire(%s, %v) = %t, model says %t; release is nil: %t", key, p, ok, wantOK, release == nil)
	}
	before, waited := tr.place(key)
	_, reserved := tr.books.kept[key]
	if reserved && before == p && !ok {
		tr.t.Fatalf("%s has a reservation at %v and was refused", key, p)
	}
	if !waited || before != p {
		tr.unpark(key)
		tr.wake(woken) // with its old slot given back, before it takes or parks at the new place
		if len(tr.lines[p]) > 0 && ok {
			tr.t.Fatalf("%s took a slot at %v before %v", key, p, tr.lines[p])
		}
		if !ok {
			tr.lines[p] = append(tr.lines[p], key)
		}
	} else {
		tr.wake(woken)
		if ok {
			tr.unpark(key)
		}
	}
	if ok {
		tr.held[slot] = release
		tr.books.taken[slot] = p
	}
}

func (tr *trial) forget(key string) {
	tr.woken = nil
	tr.lanes.Forget(key)
	tr.unpark(key)
	tr.wake(tr.model.forget(key))
}

func (tr *trial) release(slot string) {
	tr.woken = nil
	tr.held[slot]()
	delete(tr.held, slot)
	delete(tr.books.taken, slot)
	tr.wake(tr.model.release(slot))
}

func (tr *trial) learn(endpoint string, timedOut bool) {
	tr.woken = nil
	tr.lanes.Learn(endpoint, timedOut)
	tr.books.learn(endpoint, timedOut)
	tr.wake(tr.model.learn(endpoint, timedOut))
}

// wake checks the keys that Lanes woke against those the model says, one after the other.
func (tr *trial) wake(want []string) {
	if diff := cmp.Diff(want, tr.woken); diff != "" {
		tr.t.Fatalf("woken (-model +lanes):\n%s", diff)
	}
	for _, key := range tr.woken {
		p, parked := tr.place(key)
		if _, twice := tr.books.kept[key]; twice || !parked {
			tr.t.Fatalf("%s was woken; parked: %t, woken before: %t", key, parked, twice)
		}
		if tr.lines[p][0] != key {
			tr.t.Fatalf("%s was woken at %v before %v", key, p, tr.lines[p])
		}
		if !tr.books.room(p) {
			tr.t.Fatalf("%s was woken at %v, where a bound is reached", key, p)
		}
		for other := range tr.lines {
			if other != p && tr.books.room(other) {
				tr.passed[other]++
			}
		}
		tr.unpark(key)
		tr.books.kept[key] = p
	}
	tr.woken = nil
}

// check holds between any two actions.
func (tr *trial) check() {
	parked := 0
	for p, keys := range tr.lines {
		parked += len(keys)
		if tr.books.room(p) {
			tr.t.Fatalf("%v are parked at %v, where there is room", keys, p)
		}
		if tr.passed[p] > passes {
			tr.t.Fatalf("%s at %v was passed %d times", keys[0], p, tr.passed[p])
		}
	}
	limits := tr.books.limits
	for p := range tr.lines {
		if line := tr.model.line(p); line == nil || !slices.Equal(line.keys, tr.lines[p]) {
			tr.t.Fatalf("at %v: the model lost keys", p)
		}
	}
	got := tr.lanes.Snapshot()
	if got.Parked != parked || got.InFlight != tr.books.total() || got.InFlight > limits.Total {
		tr.t.Fatalf("snapshot %+v, want %d parked, %d in flight of %d", got, parked, tr.books.total(), limits.Total)
	}
	if got.OldestParked.IsZero() != (parked == 0) {
		tr.t.Fatalf("%d parked, the oldest since %v", parked, got.OldestParked)
	}
	checkStructure(tr.t, tr.lanes)
}

// drain acquires what was woken and releases what is held until nothing is left. Every key that was parked is woken
// before the slots that were held, and one for each key that waited, have been released.
func (tr *trial) drain() {
	limit := len(tr.held) + len(tr.books.kept)
	for _, keys := range tr.lines {
		limit += len(keys)
	}
	for released := 0; len(tr.held)+len(tr.books.kept)+len(tr.lines) > 0; released++ {
		for _, key := range sorted(tr.books.kept) {
			tr.acquire(key, tr.books.kept[key])
		}
		if released == limit || len(tr.held) == 0 {
			tr.t.Fatalf("after %d releases %v are still parked", released, tr.lines)
		}
		tr.release(rapid.SampledFrom(sorted(tr.held)).Draw(tr.t, "slot"))
	}
	checkEmpty(tr.t, tr.lanes)
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := newTrial(t)
		actions := map[string]func(*rapid.T){
			"": func(t *rapid.T) { tr.check() },
			"acquire": func(t *rapid.T) {
				key := drawKey(t)
				p, waits := tr.place(key)
				if !waits || rapid.IntRange(0, 3).Draw(t, "move") == 0 {
					p = drawPlace(t)
				}
				tr.acquire(key, p)
			},
			"acquireNew": func(t *rapid.T) {
				tr.acquire(drawKey(t), drawPlace(t))
			},
			"acquireWoken": func(t *rapid.T) {
				if len(tr.books.kept) > 0 {
					key := rapid.SampledFrom(sorted(tr.books.kept)).Draw(t, "woken")
					tr.acquire(key, tr.books.kept[key])
				}
			},
			"forget": func(t *rapid.T) { tr.forget(drawKey(t)) },
			"learn": func(t *rapid.T) {
				tr.learn(drawPlace(t).Endpoint, rapid.Bool().Draw(t, "timed out"))
			},
			"release": func(t *rapid.T) {
				if len(tr.held) > 0 {
					tr.release(rapid.SampledFrom(sorted(tr.held)).Draw(t, "slot"))
				}
			},
		}
		for range rounds {
			t.Repeat(actions)
		}
		tr.drain()
	})
}
