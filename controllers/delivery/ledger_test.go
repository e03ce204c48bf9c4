// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func TestLedgerIsStale(t *testing.T) {
	key := types.NamespacedName{Namespace: "tasks", Name: "a"}
	version := func(rv string) *v1alpha1.WebhookDelivery {
		return makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) { d.ResourceVersion = rv }).obj()
	}
	recreated := func(rv string) *v1alpha1.WebhookDelivery {
		d := version(rv)
		d.UID = "another"
		return d
	}
	wrote := func(l *ledger) { l.wrote(key, "uid-a", "9") }
	vanished := func(l *ledger) { l.vanished(key, version("5")) }
	tests := map[string]struct {
		before func(*ledger)
		cached *v1alpha1.WebhookDelivery
		want   bool
	}{
		"nothing known":                        {func(*ledger) {}, version("5"), false},
		"older than the own write":             {wrote, version("8"), true},
		"the own write":                        {wrote, version("9"), false},
		"newer, and longer as a number":        {wrote, version("10"), false},
		"recreated, seen before the own write": {wrote, recreated("8"), true},
		"recreated afterwards":                 {wrote, recreated("10"), false},
		"gone, but still in the cache":         {vanished, version("5"), true},
		"gone, older in the cache":             {vanished, version("4"), true},
		"gone, newer in the cache":             {vanished, version("6"), true},
		"gone and recreated":                   {vanished, recreated("6"), false},
		"not comparable":                       {wrote, version("x"), true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			tc.before(l)
			if got := l.isStale(key, tc.cached); got != tc.want {
				t.Errorf("isStale = %t, want %t", got, tc.want)
			}
		})
	}
}

// size is how many deliveries the ledger knows of.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

func TestLedgerForget(t *testing.T) {
	key := types.NamespacedName{Namespace: "tasks", Name: "a"}
	tests := map[string]struct {
		cacheVersion string
		want         bool
	}{
		"the cache has not come so far": {"8", false},
		"the cache has":                 {"9", true},
		"the cache cannot tell":         {"", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			l.hold(key, &outcome{delivery: makeDelivery("a").obj()})
			l.wrote(key, "uid-a", "9")
			if got := l.forget(key, tc.cacheVersion); got != tc.want {
				t.Errorf("forget = %t, want %t", got, tc.want)
			}
			if kept := l.size() == 1; kept == tc.want {
				t.Errorf("entry kept: %t", kept)
			}
			if unwritten, _ := l.load(); unwritten != 0 {
				t.Errorf("%d outcomes unwritten", unwritten)
			}
		})
	}
}

// TestLedgerUnstored offers a refused status again only where no outcome would store it along.
func TestLedgerUnstored(t *testing.T) {
	key := types.NamespacedName{Namespace: "tasks", Name: "a"}
	l := newLedger()
	l.refused(key, "uid-a", &v1alpha1.WebhookDeliveryStatus{})
	if n := len(l.unstored()); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
	l.begin(key, "uid-a")
	if n := len(l.unstored()); n != 0 {
		t.Errorf("%d refused during the next attempt, want none", n)
	}
	l.hold(key, &outcome{delivery: makeDelivery("a").obj()})
	l.end(key)
	if refused, left := len(l.unstored()), len(l.left()); refused != 0 || left != 1 {
		t.Errorf("%d refused and %d outcomes after the next attempt, want none and 1", refused, left)
	}
}

// TestLedgerForbidden counts outcomes by what last came of writing them.
func TestLedgerForbidden(t *testing.T) {
	a, b := types.NamespacedName{Namespace: "tasks", Name: "a"}, types.NamespacedName{Namespace: "tasks", Name: "b"}
	l := newLedger()
	for _, step := range []struct {
		do   func()
		want int
	}{
		{func() { l.failed(a, true) }, 0}, // nothing is held
		{func() { l.hold(a, &outcome{delivery: makeDelivery("a").obj()}) }, 0},
		{func() { l.hold(b, &outcome{delivery: makeDelivery("b").obj()}) }, 0},
		{func() { l.failed(a, true) }, 1},
		{func() { l.failed(a, true) }, 1},
		{func() { l.failed(b, true) }, 2},
		{func() { l.failed(a, false) }, 1},
		{func() { l.hold(b, &outcome{delivery: makeDelivery("b").obj()}) }, 0},
		{func() { l.failed(b, true) }, 1},
		{func() { l.wrote(b, "uid-b", "2") }, 0},
	} {
		step.do()
		if got := l.hopeless(); got != step.want || l.isForbidden("tasks") != (step.want > 0) || l.isForbidden("other") {
			t.Errorf("%d outcomes are forbidden, want %d", got, step.want)
		}
	}
}
