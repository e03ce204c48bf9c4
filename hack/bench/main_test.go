// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		list string
		want string
		err  string
	}{
		"all":           {"", "throughput latency admission punctuality history pending fairness payload growth", ""},
		"one":           {"growth", "growth", ""},
		"in that order": {"latency,throughput", "latency throughput", ""},
		"unknown":       {"latency,speed", "", `there is no scenario "speed": choose from throughput, latency`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			chosen, err := choose(tt.list)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			var names []string
			for _, s := range chosen {
				names = append(names, s.name)
			}
			if diff := cmp.Diff(tt.want, strings.Join(names, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSizesComeFromTheFlagsIfTheyAreSet(t *testing.T) {
	unset, set := settings{}, settings{n: 7, seconds: 3}
	if got := unset.count(5) + set.count(5); got != 12 {
		t.Errorf("counts are %d together, want 5 and 7", got)
	}
	if one, three := (settings{rounds: 1}), (settings{rounds: 3}); one.fewerRounds() != 1 || three.fewerRounds() != 2 {
		t.Errorf("%d and %d rounds, want 1 and 2", one.fewerRounds(), three.fewerRounds())
	}
	if got := unset.duration(time.Minute) + set.duration(time.Minute); got != 63*time.Second {
		t.Errorf("durations are %s together, want 60 s and 3 s", got)
	}
}
