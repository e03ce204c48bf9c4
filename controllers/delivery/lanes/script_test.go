// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script drives Lanes by lines such as
//
//	take k a@x        Acquire of k by namespace a at endpoint x gets a slot
//	park k a@x        it does not
//	release k -> m n  the slot of k is given back, and m and n are woken in this order
//	again k           it is given back once more, which wakes no one
//	forget k -> m     Forget
//	move k a@x -> m   Acquire at another place parks k and wakes m
//	hang x            a request to endpoint x timed out
//	end x -> m        one did not
type script struct {
	t     *testing.T
	lanes *Lanes[string]
	held  map[string]func()
	woken []string
}

func newScript(t *testing.T, limits Limits) *script {
	s := &script{t: t, held: map[string]func(){}}
	l, err := New(limits, func(key string) {
		if !s.lanes.mu.TryLock() {
			t.Fatal("wake was called under the lock")
		}
		s.lanes.mu.Unlock()
		s.woken = append(s.woken, key)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.lanes = l
	return s
}

func at(s string) Place {
	namespace, endpoint, _ := strings.Cut(s, "@")
	return Place{Endpoint: endpoint, Namespace: namespace}
}

func (s *script) run(line string) {
	s.t.Helper()
	action, after, _ := strings.Cut(line, "->")
	words := strings.Fields(action)
	key := words[1]
	s.woken = nil
	switch words[0] {
	case "take", "park", "move":
		release, ok := s.lanes.Acquire(key, at(words[2]))
		if want := words[0] == "take"; ok != want || (release != nil) != want {
			s.t.Fatalf("%s: ok = %t, release is nil: %t", line, ok, release == nil)
		}
		if ok {
			s.held[key] = release
		}
	case "release", "again":
		s.held[key]()
	case "hang", "end":
		s.lanes.Learn(key, words[0] == "hang")
	case "forget":
		s.lanes.Forget(key)
	default:
		s.t.Fatalf("unknown step %q", line)
	}
	if want := strings.Fields(after); !slices.Equal(s.woken, want) {
		s.t.Fatalf("%s: woken %q, want %q", line, s.woken, want)
	}
	checkStructure(s.t, s.lanes)
}

// scenario is a script, and the snapshot after it without OldestParked.
type scenario struct {
	limits Limits
	steps  []string
	want   Snapshot
}

func runScripts(t *testing.T, scenarios map[string]scenario) {
	for name, tc := range scenarios {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, tc.limits)
			for _, step := range tc.steps {
				s.run(step)
			}
			got := s.lanes.Snapshot()
			got.OldestParked = time.Time{}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("snapshot (-want +got):\n%s", diff)
			}
		})
	}
}
