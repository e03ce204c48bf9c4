// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"strings"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestNew(t *testing.T) {
	wake := func(string) {}
	for name, tc := range map[string]struct {
		limits Limits
		wake   func(string)
		want   []string // parts of the error; none for success
	}{
		"smallest":           {limits: Limits{1, 1, 1}, wake: wake},
		"parts as large":     {limits: Limits{8, 8, 8}, wake: wake},
		"total zero":         {limits: Limits{0, 1, 1}, wake: wake, want: []string{"in total is 0"}},
		"endpoint zero":      {limits: Limits{8, 0, 1}, wake: wake, want: []string{"per endpoint is 0"}},
		"endpoint too large": {limits: Limits{8, 9, 1}, wake: wake, want: []string{"per endpoint is 9, want 1 to 8"}},
		"namespace negative": {limits: Limits{8, 1, -1}, wake: wake, want: []string{"per namespace is -1"}},
		"both too large":     {limits: Limits{8, 9, 9}, wake: wake, want: []string{"endpoint is 9", "namespace is 9"}},
		"no wake":            {limits: Limits{8, 4, 4}, want: []string{"wake"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := New(tc.limits, tc.wake)
			if (err != nil) != (len(tc.want) > 0) || (l == nil) != (len(tc.want) > 0) {
				t.Fatalf("New = %v, %v", l, err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not contain %q", err, part)
				}
			}
		})
	}
}

func TestIsParked(t *testing.T) {
	l, err := New(Limits{1, 1, 1}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	release, _ := l.Acquire("a", Place{"e", "n"})
	l.Acquire("b", Place{"e", "n"})
	l.Acquire("c", Place{"e", "n"})
	check := func(moment string, want map[string]bool) {
		t.Helper()
		for key, parked := range want {
			if got := l.IsParked(key); got != parked {
				t.Errorf("%s: %s is parked: %t, want %t", moment, key, got, parked)
			}
		}
	}
	check("a holds the slot", map[string]bool{"a": false, "b": true, "c": true, "stranger": false})
	release()
	check("the slot is reserved for b", map[string]bool{"a": false, "b": false, "c": true})
	l.Forget("c")
	check("c is forgotten", map[string]bool{"b": false, "c": false})
}

func TestLine(t *testing.T) {
	runScripts(t, map[string]scenario{
		"first in, first out": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "park 3 a@x", "release 1 -> 2", "take 2 a@x", "release 2 -> 3"},
			want:   Snapshot{InFlight: 1},
		},
		"no one overtakes a reservation": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "release 1 -> 2", "park 3 a@x", "take 2 a@x", "release 2 -> 3"},
			want:   Snapshot{InFlight: 1},
		},
		"release is idempotent": {
			limits: Limits{9, 1, 9},
			steps: []string{"take 1 a@x", "park 2 a@x", "park 3 a@x", "release 1 -> 2", "again 1", "again 1",
				"take 2 a@x", "release 2 -> 3", "again 1", "again 2"},
			want: Snapshot{InFlight: 1},
		},
		"parking twice keeps the place in line": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "park 3 a@x", "park 2 a@x", "release 1 -> 2"},
			want:   Snapshot{Parked: 1, InFlight: 1},
		},
		"a forgotten key loses its place": {
			limits: Limits{9, 1, 9},
			steps: []string{"take 1 a@x", "park 2 a@x", "park 3 a@x", "park 4 a@x", "forget 2", "release 1 -> 3",
				"take 3 a@x", "park 2 a@x", "release 3 -> 4"},
			want: Snapshot{Parked: 1, InFlight: 1},
		},
		"a forgotten reservation goes to the next": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "park 3 a@x", "release 1 -> 2", "forget 2 -> 3", "forget 3"},
		},
		"forget leaves held slots and unknown keys alone": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "forget 1", "forget 7", "release 1 -> 2"},
			want:   Snapshot{InFlight: 1},
		},
		"a key that holds a slot may take another": {
			limits: Limits{9, 2, 9},
			steps:  []string{"take 1 a@x", "take 1 a@x", "park 1 a@x", "release 1 -> 1"},
			want:   Snapshot{InFlight: 2},
		},
	})
}

func TestNewerPlace(t *testing.T) {
	runScripts(t, map[string]scenario{
		"of a parked key": {
			limits: Limits{9, 1, 9},
			steps: []string{"take 1 a@x", "take 2 a@y", "park 3 a@x", "park 4 a@y", "park 3 a@y", "release 1",
				"release 2 -> 4", "take 4 a@y", "release 4 -> 3", "take 3 a@y"},
			want: Snapshot{InFlight: 1},
		},
		"of a parked key, with room": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "take 2 a@y", "release 1"},
			want:   Snapshot{InFlight: 1},
		},
		"of a woken key": {
			limits: Limits{9, 1, 9},
			steps: []string{"take 1 a@x", "take 2 a@y", "park 3 a@x", "park 4 a@x", "release 1 -> 3", "move 3 a@y -> 4",
				"take 4 a@x", "release 2 -> 3", "take 3 a@y"},
			want: Snapshot{InFlight: 2},
		},
	})
}

func TestBounds(t *testing.T) {
	runScripts(t, map[string]scenario{
		"an endpoint at its bound blocks no other": {
			limits: Limits{9, 1, 9},
			steps:  []string{"take 1 a@x", "park 2 a@x", "park 3 b@x", "take 4 a@y", "take 5 b@y2", "release 4"},
			want:   Snapshot{Parked: 2, InFlight: 2},
		},
		"a namespace at its bound blocks no other": {
			limits: Limits{9, 9, 1},
			steps:  []string{"take 1 a@x", "park 2 a@x", "park 3 a@y", "take 4 b@x", "take 5 c@y", "release 4"},
			want:   Snapshot{Parked: 2, InFlight: 2},
		},
		"a blocked endpoint does not hold the total": {
			limits: Limits{2, 1, 2},
			steps: []string{"take 1 a@x", "take 2 a@y", "park 3 a@x", "park 4 a@y", "park 5 a@z", "release 2 -> 4",
				"take 4 a@y", "release 4 -> 5"},
			want: Snapshot{Parked: 1, InFlight: 2},
		},
		"a blocked namespace does not hold the endpoint": {
			limits: Limits{9, 2, 1},
			steps:  []string{"take 1 a@x", "take 2 b@x", "park 3 a@x", "park 4 c@x", "release 2 -> 4"},
			want:   Snapshot{Parked: 1, InFlight: 2},
		},
		"one release may serve two": {
			limits: Limits{9, 1, 1},
			steps:  []string{"take 1 a@x", "park 2 a@y", "park 3 b@x", "release 1 -> 2 3"},
			want:   Snapshot{InFlight: 2},
		},
	})
}

func TestTurns(t *testing.T) {
	runScripts(t, map[string]scenario{
		"namespaces take turns at an endpoint": {
			limits: Limits{9, 1, 9},
			steps: []string{"take 0 z@x", "park 1 a@x", "park 2 a@x", "park 3 a@x", "park 4 b@x", "park 5 b@x", "park 6 c@x",
				"release 0 -> 1", "take 1 a@x", "release 1 -> 4", "take 4 b@x", "release 4 -> 6", "take 6 c@x",
				"release 6 -> 2", "take 2 a@x", "release 2 -> 5", "take 5 b@x", "release 5 -> 3"},
			want: Snapshot{InFlight: 1},
		},
		"endpoints take turns at the total": {
			limits: Limits{1, 1, 1},
			steps: []string{"take 0 a@w", "park 1 a@x", "park 2 a@x", "park 3 a@x", "park 4 a@y", "park 5 a@y", "park 6 a@z",
				"release 0 -> 1", "take 1 a@x", "release 1 -> 4", "take 4 a@y", "release 4 -> 6", "take 6 a@z",
				"release 6 -> 2", "take 2 a@x", "release 2 -> 5", "take 5 a@y", "release 5 -> 3"},
			want: Snapshot{InFlight: 1},
		},
		"an endpoint has one turn however many namespaces share it": {
			limits: Limits{1, 1, 1},
			steps: []string{"take 0 a@w", "park 1 a@x", "park 2 b@x", "park 3 c@x", "park 4 a@y", "park 5 a@y",
				"release 0 -> 1", "take 1 a@x", "release 1 -> 4", "take 4 a@y", "release 4 -> 2", "take 2 b@x",
				"release 2 -> 5", "take 5 a@y", "release 5 -> 3"},
			want: Snapshot{InFlight: 1},
		},
		"endpoints take turns at a namespace": {
			limits: Limits{9, 9, 1},
			steps: []string{"take 0 a@w", "park 1 a@x", "park 2 a@x", "park 3 a@y", "park 4 a@y", "park 5 a@z", "take 9 b@x",
				"release 0 -> 1", "take 1 a@x", "release 9", "release 1 -> 3", "take 3 a@y", "release 3 -> 5", "take 5 a@z",
				"release 5 -> 2", "take 2 a@x", "release 2 -> 4"},
			want: Snapshot{InFlight: 1},
		},
		"a namespace that yields its turn keeps its claim": {
			// a yields the turn of x to b, and has it before the later one of z.
			limits: Limits{3, 3, 1},
			steps: []string{"take 1 a@w", "take 2 b@w", "take 3 c@w", "park 4 a@x", "park 8 b@x", "park 5 d@y",
				"park 6 a@z", "release 3 -> 5", "release 1 -> 4"},
			want: Snapshot{Parked: 2, InFlight: 3},
		},
		"a claim that is served counts as a turn of its endpoint": {
			limits: Limits{3, 3, 1},
			steps: []string{"take 1 a@w", "take 2 b@w", "take 3 c@w", "park 4 a@x", "park 5 d@x", "park 6 e@x",
				"release 3 -> 5", "park 7 f@y", "release 1 -> 4", "release 2 -> 7"},
			want: Snapshot{Parked: 1, InFlight: 3},
		},
		"an endpoint that begins to park joins at the end": {
			limits: Limits{1, 1, 1},
			steps: []string{"take 0 a@w", "park 1 a@x", "park 2 a@x", "release 0 -> 1", "take 1 a@x", "park 3 a@y",
				"release 1 -> 2", "take 2 a@x", "park 4 a@x", "release 2 -> 3"},
			want: Snapshot{Parked: 1, InFlight: 1},
		},
		"the turn of a forgotten key goes to the next of its endpoint": {
			limits: Limits{1, 1, 1},
			steps:  []string{"take 0 a@w", "park 1 a@x", "park 2 b@x", "park 3 a@y", "forget 1", "release 0 -> 2"},
			want:   Snapshot{Parked: 1, InFlight: 1},
		},
		"an endpoint that comes back joins at the end": {
			limits: Limits{1, 1, 1},
			steps:  []string{"take 0 a@w", "park 1 a@x", "park 2 a@y", "forget 1", "park 1 a@x", "release 0 -> 2"},
			want:   Snapshot{Parked: 1, InFlight: 1},
		},
	})
}

func TestOldestParked(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newScript(t, Limits{9, 1, 9})
		for _, step := range []struct {
			run  string
			want time.Duration // since start; -1 for none
		}{
			{"take 1 a@x", -1},
			{"park 2 a@x", 2 * time.Second},
			{"take 3 a@y", 2 * time.Second},
			{"park 4 a@y", 2 * time.Second},
			{"park 2 a@x", 2 * time.Second},
			{"park 5 a@x", 2 * time.Second},
			{"release 1 -> 2", 4 * time.Second},
			{"park 4 a@x", 6 * time.Second}, // at a newer place
			{"forget 5", 8 * time.Second},
			{"forget 4", -1},
		} {
			time.Sleep(time.Second) // of the bubble's clock
			s.run(step.run)
			want := time.Time{}
			if step.want >= 0 {
				want = start.Add(step.want)
			}
			if got := s.lanes.Snapshot().OldestParked; !got.Equal(want) {
				t.Errorf("after %q: oldest parked %v, want %v", step.run, got, want)
			}
		}
	})
}
