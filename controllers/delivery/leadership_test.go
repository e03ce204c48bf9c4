// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// lock is a resource lock whose writes take a while and are answered with err.
type lock struct {
	resourcelock.Interface
	takes  time.Duration
	err    error
	holder string
	writes int
}

func (l *lock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: l.holder}, nil, l.err
}

func (l *lock) Identity() string { return "me" }

func (l *lock) Create(context.Context, resourcelock.LeaderElectionRecord) error {
	time.Sleep(l.takes)
	return l.err
}

func (l *lock) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	time.Sleep(l.takes)
	l.writes++
	l.holder = record.HolderIdentity
	return l.err
}

func TestLeadershipHolds(t *testing.T) {
	const duration = 20 * time.Second
	mine := resourcelock.LeaderElectionRecord{HolderIdentity: "me"}
	create := func(t *testing.T, l *Leadership) {
		t.Helper()
		if err := l.Create(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
	}
	write := func(l *Leadership, inner *lock, record resourcelock.LeaderElectionRecord, takes time.Duration, err error) error {
		inner.takes, inner.err = takes, err
		return l.Update(context.Background(), record)
	}
	seen := func(holder string) func(*testing.T, *Leadership, *lock) {
		return func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			inner.holder = holder
			if _, _, err := l.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	tests := map[string]struct {
		before func(t *testing.T, l *Leadership, inner *lock)
		need   time.Duration
		want   bool
	}{
		"never had it": {func(*testing.T, *Leadership, *lock) {}, 0, false},
		"just created": {func(t *testing.T, l *Leadership, _ *lock) { create(t, l) }, 12 * time.Second, true},
		"a nanosecond more is left than needed": {func(t *testing.T, l *Leadership, _ *lock) {
			create(t, l)
			time.Sleep(8*time.Second - 1)
		}, 12 * time.Second, true},
		"exactly what is needed is left": {func(t *testing.T, l *Leadership, _ *lock) {
			create(t, l)
			time.Sleep(8 * time.Second)
		}, 12 * time.Second, false},
		"run out": {func(t *testing.T, l *Leadership, _ *lock) {
			create(t, l)
			time.Sleep(duration)
		}, 0, false},
		"renewed in time": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			time.Sleep(15 * time.Second)
			if err := write(l, inner, mine, 0, nil); err != nil {
				t.Error(err)
			}
			time.Sleep(7 * time.Second)
		}, 12 * time.Second, true},
		"a renewal counts from before its request": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			time.Sleep(time.Second)
			if err := write(l, inner, mine, 8*time.Second, nil); err != nil {
				t.Error(err)
			}
		}, 12 * time.Second, false},
		"renewals that fail do not count": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			for range 4 {
				if err := write(l, inner, mine, 2*time.Second, errAway); !errors.Is(err, errAway) {
					t.Errorf("the elector was told %v", err)
				}
			}
		}, 12 * time.Second, false},
		"a renewal that fails leaves what was left": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			if err := write(l, inner, mine, 2*time.Second, errAway); !errors.Is(err, errAway) {
				t.Errorf("the elector was told %v", err)
			}
		}, 12 * time.Second, true},
		"released": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			if err := write(l, inner, resourcelock.LeaderElectionRecord{}, 0, nil); err != nil {
				t.Error(err)
			}
		}, 0, false},
		"another was seen to hold it":   {seen("you"), 0, false},
		"it was seen to be the own one": {seen("me"), 12 * time.Second, true},
		"won back after a release": {func(t *testing.T, l *Leadership, inner *lock) {
			create(t, l)
			err := errors.Join(write(l, inner, resourcelock.LeaderElectionRecord{}, 0, nil), write(l, inner, mine, 0, nil))
			if err != nil {
				t.Error(err)
			}
		}, 12 * time.Second, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				inner := &lock{}
				l := &Leadership{Interface: inner, duration: duration}
				tc.before(t, l, inner)
				if got := l.Holds(tc.need); got != tc.want {
					t.Errorf("Holds(%s) = %t, want %t", tc.need, got, tc.want)
				}
			})
		})
	}
}

// TestRelease does what the elector does to release a lease: it reads it, and writes it without a holder.
func TestRelease(t *testing.T) {
	tests := map[string]struct {
		holder string
		busy   bool
		want   string // the holder afterwards
	}{
		"its own":                           {"me", false, ""},
		"its own, with something to record": {"me", true, "me"},
		"another's by now":                  {"you", false, "you"},
		"free already":                      {"", false, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inner := &lock{holder: tc.holder}
			l := &Leadership{Interface: inner, duration: 20 * time.Second}
			l.KeepWhile(func() bool { return tc.busy })
			if _, _, err := l.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{})
			if refused := inner.writes == 0; inner.holder != tc.want || (err != nil) != refused {
				t.Errorf("the lease is %q's, want %q (%v)", inner.holder, tc.want, err)
			}
		})
	}
}

func TestNewLeadership(t *testing.T) {
	config := &rest.Config{Host: "http://127.0.0.1:1"}
	a, err := NewLeadership(config, "somewhere", time.Minute, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewLeadership(config, "somewhere", time.Minute, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if a.Identity() == b.Identity() || a.Identity() == "" {
		t.Errorf("identities %q and %q, want two that differ: a restarted replica must not pass for its former self",
			a.Identity(), b.Identity())
	}
	if got, want := a.Describe(), "somewhere/webhook-delivery-operator"; got != want {
		t.Errorf("the Lease is %s, want %s", got, want)
	}
	_, err = NewLeadership(config, "", time.Minute, time.Second)
	if err == nil || !strings.Contains(err.Error(), "outside a pod, set it by flag") {
		t.Errorf("without a namespace outside a pod: %v", err)
	}
}
