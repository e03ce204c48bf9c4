// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// completed is when the objects of table tests finished.
var completed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestParseTTL(t *testing.T) {
	for text, want := range map[string]*time.Duration{
		"24h":   new(24 * time.Hour),
		"0":     new(time.Duration(0)),
		"0s":    new(time.Duration(0)),
		"1ms":   new(time.Millisecond),
		"never": nil,
	} {
		got, err := ParseTTL(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "-1s", "7d", "Never", "86400", "for ever"} {
		if got, err := ParseTTL(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestDueAt(t *testing.T) {
	const longest = 315360000 * time.Second // what the CRD allows
	for name, test := range map[string]struct {
		ttl, byDefault *time.Duration
		want           time.Time // zero: never
	}{
		"neither":                        {},
		"own":                            {ttl: new(time.Minute), want: completed.Add(time.Minute)},
		"default":                        {byDefault: new(time.Hour), want: completed.Add(time.Hour)},
		"own wins when it is longer":     {new(time.Hour), new(time.Minute), completed.Add(time.Hour)},
		"own wins when it is shorter":    {new(time.Second), new(time.Hour), completed.Add(time.Second)},
		"own 0 is at once":               {new(time.Duration(0)), new(time.Hour), completed},
		"default 0 is at once":           {byDefault: new(time.Duration(0)), want: completed},
		"own wins over a default of 0":   {new(time.Hour), new(time.Duration(0)), completed.Add(time.Hour)},
		"the longest does not overflow":  {ttl: new(longest), want: completed.Add(longest)},
		"fractions of a default survive": {byDefault: new(time.Millisecond), want: completed.Add(time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			at, ok := dueAt(completed, test.ttl, test.byDefault)
			if ok == test.want.IsZero() || !at.Equal(test.want) {
				t.Errorf("got %v, %t, want %v", at, ok, test.want)
			}
		})
	}
}

func TestEarliestKeepsTheEarliest(t *testing.T) {
	const limit, total = 10, 1000
	e := earliest{limit: limit}
	for _, i := range rand.Perm(total) {
		e.add(due{at: completed.Add(time.Duration(i) * time.Second)})
		if len(e.items) > 2*limit {
			t.Fatalf("%d items are in memory, want at most %d", len(e.items), 2*limit)
		}
	}
	got := e.sorted()
	if len(got) != limit {
		t.Fatalf("%d items are left, want %d", len(got), limit)
	}
	for i, d := range got {
		if want := completed.Add(time.Duration(i) * time.Second); !d.at.Equal(want) {
			t.Errorf("item %d is due at %v, want %v", i, d.at, want)
		}
	}
}
