// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"testing"
	"time"
)

func TestEndpointsThatHang(t *testing.T) {
	runScripts(t, map[string]scenario{
		"one alone is bounded as any other": {
			limits: Limits{8, 4, 8},
			steps:  []string{"hang x", "take 1 a@x", "take 2 a@x", "take 3 a@x", "take 4 a@x", "park 5 a@x"},
			want:   Snapshot{InFlight: 4, Parked: 1},
		},
		"two divide half a namespace's bound": {
			limits: Limits{8, 4, 8},
			steps:  []string{"hang x", "hang y", "take 1 a@x", "take 2 a@x", "park 3 a@x", "take 4 a@y", "take 5 a@y", "park 6 a@y"},
			want:   Snapshot{InFlight: 4, Parked: 2},
		},
		"many have one slot each": {
			limits: Limits{8, 4, 8},
			steps: []string{"hang u", "hang v", "hang w", "hang x", "hang y", "take 1 a@x", "park 2 a@x", "take 3 a@y",
				"park 4 a@y"},
			want: Snapshot{InFlight: 2, Parked: 2},
		},
		"leave their slots to the others": {
			limits: Limits{4, 4, 4},
			steps: []string{"take 1 a@x", "take 2 a@x", "take 3 a@y", "take 4 a@y", "park 5 a@x", "park 6 a@y", "park 7 a@z",
				"park 8 a@z", "hang x", "hang y", "release 1 -> 7", "release 3 -> 8", "release 2 -> 5"},
			want: Snapshot{InFlight: 4, Parked: 1},
		},
		"have all again when they answer": {
			limits: Limits{8, 4, 8},
			steps: []string{"hang x", "hang y", "take 1 a@x", "take 2 a@x", "park 3 a@x", "park 4 a@x", "park 5 a@x",
				"end x -> 3 4", "release 1 -> 5"},
			want: Snapshot{InFlight: 4},
		},
		"have more when another answers": {
			limits: Limits{8, 4, 8},
			steps:  []string{"hang x", "hang y", "take 1 a@x", "take 2 a@x", "park 3 a@x", "end y -> 3"},
			want:   Snapshot{InFlight: 3},
		},
		"are remembered while nothing goes there": {
			limits: Limits{8, 4, 4},
			steps:  []string{"take 1 a@x", "hang x", "hang y", "release 1", "take 2 a@x", "park 3 a@x", "take 4 a@z"},
			want:   Snapshot{InFlight: 2, Parked: 1},
		},
		"where there is no half": {
			limits: Limits{8, 1, 1},
			steps:  []string{"hang x", "take 1 a@x", "park 2 a@x", "release 1 -> 2"},
			want:   Snapshot{InFlight: 1},
		},
	})
}

func TestEndpointsThatHangAreForgotten(t *testing.T) {
	p := newPace(Limits{Total: 16, PerEndpoint: 8, PerNamespace: 8})
	now := time.Now()
	p.learn("x", true, now)
	p.learn("y", true, now.Add(time.Minute))
	for at, want := range map[time.Duration]int{hangTTL - 1: 4, hangTTL: 8} {
		q := newPace(Limits{Total: 16, PerEndpoint: 8, PerNamespace: 8})
		q.learn("x", true, now)
		q.learn("another", false, now.Add(at))
		if got := q.limit("x"); got != want {
			t.Errorf("%s after its time-out x has %d slots, want %d", at, got, want)
		}
	}
	for i := range 2 * maxHanging {
		p.learn(fmt.Sprint("z", i), true, now.Add(2*time.Minute))
	}
	if len(p.hanging) != maxHanging || p.order.Len() != maxHanging || p.limit("y") != 8 {
		t.Errorf("%d and %d endpoints are remembered, and y has %d slots", len(p.hanging), p.order.Len(), p.limit("y"))
	}
}
