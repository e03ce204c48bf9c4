// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestMassRestartNeitherResetsNorBursts(t *testing.T) {
	const objects = 200 // 5,000 on a real API server: see hack/chaos
	inVirtualTime(t, always(200), func(s *stack) {
		due := map[string]time.Time{}
		began := time.Now()
		for i := range objects {
			name := fmt.Sprint(i)
			// Spread over a second from two seconds on, when the operator has started.
			next := began.Add(2*time.Second + settling + time.Duration(i)*time.Second/objects).Truncate(time.Microsecond)
			d := makeDelivery(name).failed(1, next.Add(-10*time.Second), 503, next).obj()
			due[string(d.UID)] = next
			s.create(d)
		}
		s.run()
		started := s.start
		time.Sleep(time.Minute)
		for _, p := range s.seen() {
			at, want := started.Add(p.at), due[p.id]
			if late := at.Sub(want); late < 0 || late > 50*time.Millisecond {
				t.Errorf("%s: retried %s after the recorded time", p.id, late)
			}
			delete(due, p.id)
		}
		if posts, writes := s.counts(); posts != objects || writes != objects || len(due) != 0 {
			t.Errorf("%d requests and %d writes for %d objects, %d of them without one", posts, writes, objects, len(due))
		}
		if got := len(s.get("0").Status.Attempts); got != 2 {
			t.Errorf("%d attempts recorded, want the one of before and one more", got)
		}
	})
}

// TestClockLeaps lets the wall clock leap by an hour while the process that recorded the wait is not the one that waits.
func TestClockLeaps(t *testing.T) {
	p := DefaultPolicy()
	const gap, longest = 10 * time.Second, 11 * time.Second
	tests := map[string]struct {
		recorded time.Duration // the due time, as seen from now
		want     time.Duration
	}{
		"no leap":           {gap, gap},
		"back by an hour":   {gap + time.Hour, longest},
		"ahead by an hour":  {gap - time.Hour, 0},
		"back by a little":  {gap + 100*time.Millisecond, gap + 100*time.Millisecond},
		"ahead by a little": {gap - 100*time.Millisecond, gap - 100*time.Millisecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			d := makeDelivery("a").failed(1, now, 500, now.Add(tc.recorded)).obj()
			if got := p.dueTime(d, now).Sub(now); got != tc.want {
				t.Errorf("waits %s, want %s", got, tc.want)
			}
		})
	}
}

// TestClockLeapsInOneProcess computes a wait once, whatever the wall clock says afterwards.
func TestClockLeapsInOneProcess(t *testing.T) {
	key := types.NamespacedName{Namespace: "tasks", Name: "a"}
	p := DefaultPolicy()
	for name, leap := range map[string]time.Duration{"back": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			l := newLedger()
			d := makeDelivery("a").failed(1, now, 500, now.Add(10*time.Second)).obj()
			want := l.due(key, d, func() time.Time { return p.dueTime(d, now) })
			after := l.due(key, d, func() time.Time { return p.dueTime(d, now.Round(0).Add(leap)) })
			if !after.Equal(want) || want.Sub(now) != 10*time.Second {
				t.Errorf("due in %s, and after the leap in %s, want 10s both times", want.Sub(now), after.Sub(now))
			}
		})
	}
}

// TestWaitForASecretGoesByTheOwnClock is a wait that status has begin in the future, as the clock was set back since.
func TestWaitForASecretGoesByTheOwnClock(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		key := types.NamespacedName{Namespace: "tasks", Name: "a"}
		l := newLedger()
		check := func(d *v1alpha1.WebhookDelivery, want time.Duration, wantWarned bool) {
			t.Helper()
			if got, warned := l.waited(key, d, time.Now()); got != want || warned != wantWarned {
				t.Errorf("waited %s, warned %t, want %s, %t", got, warned, want, wantWarned)
			}
		}
		d := makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, time.Now().Add(time.Hour)).obj()
		check(d, 0, false)
		time.Sleep(time.Minute)
		check(d, time.Minute, false)
		l.setWarned(key, d)
		time.Sleep(time.Minute)
		check(d, 2*time.Minute, true)
		next := makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, time.Now().Add(-10*time.Second)).obj()
		check(next, 10*time.Second, false)
		time.Sleep(time.Minute)
		check(next, 70*time.Second, false)
		check(makeDelivery("a").obj(), 0, false)
	})
}

// TestClockLeapsDuringAnAttempt records an attempt whose start the wall clock told otherwise than it tells its end.
func TestClockLeapsDuringAnAttempt(t *testing.T) {
	for name, leap := range map[string]time.Duration{"back": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, always(200), func(s *stack) {
				s.run()
				s.create(makeDelivery("a").suspended().obj())
				time.Sleep(time.Second)
				d, now := s.get("a"), time.Now()
				a := failure(1, now.Add(-leap))
				a.StartTime, a.finished = metav1.NewMicroTime(now.Add(-leap)), now
				out := &outcome{delivery: d, attempt: a, status: s.policy.afterAttempt(d, a)}
				key := types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
				r := s.running.reconciler
				r.ledger.hold(key, out)
				result, err := r.record(context.Background(), key, out)
				if err != nil || result.RequeueAfter < 10*time.Second || result.RequeueAfter > 11*time.Second {
					t.Errorf("looks again in %s (%v), want about 10s", result.RequeueAfter, err)
				}
			})
		})
	}
}

// TestDueIsNotBeforeWhatIsRecorded takes attempts whose durations status rounds up.
func TestDueIsNotBeforeWhatIsRecorded(t *testing.T) {
	key := types.NamespacedName{Namespace: "tasks", Name: "a"}
	p := DefaultPolicy()
	for _, took := range []time.Duration{0, 1, time.Microsecond, 100400 * time.Microsecond, time.Second - 1, time.Second} {
		d, start := makeDelivery("a").obj(), t0.Add(999)
		a := newAttempt(1, start, start.Add(took))
		status := p.afterAttempt(d, a)
		due := newLedger().setDue(key, &outcome{delivery: d, attempt: a, status: status})
		if late := due.Sub(status.NextAttemptTime.Time); late < 0 || late > time.Millisecond+time.Microsecond {
			t.Errorf("after an attempt of %s: due %s after the recorded time", took, late)
		}
	}
}
