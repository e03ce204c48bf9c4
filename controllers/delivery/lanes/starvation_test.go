// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"slices"
	"testing"
)

// crowd keeps keys parked at each of its places, whatever is served, and releases the slots of its places in turn.
type crowd struct {
	t      *testing.T
	lanes  *Lanes[string]
	places map[string]Place // of every key that was ever acquired
	held   map[Place][]func()
	made   int
	victim bool // was woken
}

func newCrowd(t *testing.T, limits Limits) *crowd {
	c := &crowd{t: t, places: map[string]Place{}, held: map[Place][]func(){}}
	l, err := New(limits, func(key string) {
		if key == "victim" {
			c.victim = true
			return
		}
		c.take(key, c.places[key])
	})
	if err != nil {
		t.Fatal(err)
	}
	c.lanes = l
	return c
}

func (c *crowd) take(key string, p Place) bool {
	c.places[key] = p
	release, ok := c.lanes.Acquire(key, p)
	if ok {
		c.held[p] = append(c.held[p], release)
	}
	return ok
}

// arrive acquires new keys at the place until one is parked.
func (c *crowd) arrive(p Place) {
	for range c.lanes.limits.Total + 1 {
		c.made++
		if !c.take(fmt.Sprint("k", c.made), p) {
			return
		}
	}
	c.t.Fatalf("at %v nothing is ever parked", p)
}

// release gives back the slot of the place that was taken first, if one is held there.
func (c *crowd) release(p Place) {
	if len(c.held[p]) == 0 {
		return
	}
	release := c.held[p][0]
	c.held[p] = slices.Delete(c.held[p], 0, 1)
	release()
}

// busy returns a place where a slot is held.
func (c *crowd) busy() Place {
	for p, held := range c.held {
		if len(held) > 0 {
			return p
		}
	}
	c.t.Fatal("no slot is held")
	return Place{}
}

// press releases slots of the streams in turn, and has new keys arrive for them, for many rounds.
func (c *crowd) press(streams []string) {
	for range 50 {
		for _, stream := range streams {
			c.release(at(stream))
			c.arrive(at(stream))
		}
	}
}

func TestNoStarvation(t *testing.T) {
	for name, tc := range map[string]struct {
		limits  Limits
		victim  string
		streams []string // places where keys arrive without end, in the order in which their slots are released
	}{
		"by newcomers at its place":           {Limits{9, 1, 9}, "a@x", []string{"a@x"}},
		"by other namespaces of its endpoint": {Limits{9, 1, 9}, "a@x", []string{"b@x", "c@x", "d@x"}},
		"by other endpoints of its namespace": {Limits{9, 9, 1}, "a@x", []string{"a@y", "a@z"}},
		"by others for the total":             {Limits{2, 1, 1}, "a@x", []string{"b@y", "c@z", "d@z"}},
		"by endpoint and total in turn":       {Limits{2, 1, 2}, "a@x", []string{"b@x", "c@y", "c@z", "d@y"}},
		"by namespace and total in turn":      {Limits{2, 2, 1}, "a@x", []string{"b@x", "a@y"}},
		"by namespace and total, wider":       {Limits{4, 4, 2}, "a@x", []string{"b@x", "a@y", "c@x", "a@z"}},
		"by a namespace with many endpoints":  {Limits{4, 2, 4}, "b@x", []string{"a@x", "a@1", "a@2", "a@3", "a@4", "a@5"}},
		"by an endpoint with many namespaces": {Limits{1, 1, 1}, "a@y", []string{"b@x", "c@x", "d@x", "e@x", "f@x", "g@x"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, tc.limits)
			for _, stream := range tc.streams {
				c.arrive(at(stream))
			}
			if c.take("victim", at(tc.victim)) {
				t.Fatal("the victim was not parked")
			}
			c.press(tc.streams)
			if !c.victim {
				t.Errorf("not woken while %d others came", c.made)
			}
		})
	}
}

// TestNewEndpoints has keys arrive without end, each at an endpoint of its own.
func TestNewEndpoints(t *testing.T) {
	c := newCrowd(t, Limits{1, 1, 1})
	c.take("first", at("b@x0"))
	c.take("second", at("a@x"))
	if c.take("victim", at("a@x")) {
		t.Fatal("the victim was not parked")
	}
	for i := 1; i <= 50 && !c.victim; i++ {
		c.arrive(at(fmt.Sprint("b@x", i)))
		c.release(c.busy())
	}
	if !c.victim {
		t.Errorf("not woken while %d others came", c.made)
	}
}

// TestWaitForBoth shows the one wait that others can prolong: for an endpoint and a namespace that never have room at
// the same moment. It ends when either of them is no longer kept at its bound.
func TestWaitForBoth(t *testing.T) {
	for name, tc := range map[string]struct {
		pauses, remains string
	}{
		"the endpoint's others pause":  {pauses: "b@x", remains: "a@y"},
		"the namespace's others pause": {pauses: "a@y", remains: "b@x"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, Limits{2, 1, 1})
			c.arrive(at("b@x"))
			c.arrive(at("a@y"))
			if c.take("victim", at("a@x")) {
				t.Fatal("the victim was not parked")
			}
			c.press([]string{"b@x", "a@y"})
			for range 3 { // what is held, what is parked, and one more
				c.release(at(tc.pauses))
			}
			c.press([]string{tc.remains})
			if !c.victim {
				t.Errorf("not woken while %d others came", c.made)
			}
		})
	}
}
