// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	var all []string
	for _, s := range steps {
		all = append(all, s.name)
	}
	for names, want := range map[string][]string{
		"":            all,
		"crash":       {"receiver", "install", "crash"},
		"drain,guard": {"receiver", "install", "guard", "drain"},
		"dance":       nil,
	} {
		chosen, err := choose(names)
		var got []string
		for _, s := range chosen {
			got = append(got, s.name)
		}
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("steps %q: error %v\n%s", names, err, diff)
		}
	}
}
