// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func always(code int) answer {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func failFirst(n int) answer {
	return func(i int, w http.ResponseWriter, r *http.Request) {
		if i <= n {
			always(http.StatusServiceUnavailable)(i, w, r)
		}
	}
}

func seconds(s ...float64) (times []time.Duration) {
	for _, v := range s {
		times = append(times, time.Duration(v*float64(time.Second)))
	}
	return times
}

// sameTimes compares when requests came with when they were due: never early, and late by no more than the steps in which informers start and stale objects are looked at.
func sameTimes(t *testing.T, want, got []time.Duration) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("requests at %v, want %v", got, want)
	}
	for i := range want {
		if late := got[i] - want[i]; late < 0 || late > 400*time.Millisecond {
			t.Errorf("request %d at %s, want %s", i+1, got[i], want[i])
		}
	}
}

func TestSchedule(t *testing.T) {
	tests := map[string]struct {
		answer answer
		lag    time.Duration
		want   []time.Duration
		phase  v1alpha1.Phase
	}{
		"delivered at once":          {failFirst(0), 0, seconds(0), v1alpha1.PhaseDelivered},
		"delivered by the 2nd":       {failFirst(1), 0, seconds(0, 10), v1alpha1.PhaseDelivered},
		"delivered by the last":      {failFirst(3), 0, seconds(0, 10, 40, 130), v1alpha1.PhaseDelivered},
		"never delivered":            {always(500), 0, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"404 is retried":             {always(404), 0, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"410 is retried":             {always(410), 0, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"redirect is not followed":   {always(307), 0, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"watch lags at once":         {failFirst(0), 15 * time.Second, seconds(15), v1alpha1.PhaseDelivered},
		"watch lags never delivered": {always(503), 15 * time.Second, seconds(15, 30, 60, 150), v1alpha1.PhaseUndeliverable},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.watchLag = tc.lag
				s.run()
				s.create(makeDelivery("a").obj())
				time.Sleep(10 * time.Minute)
				sameTimes(s.t, tc.want, s.times())
				posts, writes := s.counts()
				if writes != posts {
					t.Errorf("%d status writes for %d requests", writes, posts)
				}
				stored := s.get("a")
				if stored.Status.Phase != tc.phase || len(stored.Status.Attempts) != posts {
					t.Errorf("stored phase %s with %d attempts, want %s with %d",
						stored.Status.Phase, len(stored.Status.Attempts), tc.phase, posts)
				}
				if stored.Status.NextAttemptTime != nil || stored.Status.CompletionTime == nil {
					t.Errorf("a finished delivery has next attempt %v and completion %v",
						stored.Status.NextAttemptTime, stored.Status.CompletionTime)
				}
				if s.running.reconciler.ledger.size() != 0 {
					t.Errorf("the ledger still knows finished objects")
				}
			})
		})
	}
}

func TestEveryAttemptIsTheSameRequest(t *testing.T) {
	inVirtualTime(t, always(503), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(10 * time.Minute)
		want := post{id: "uid-a", body: `{"status":"finished","task_id":"a"}`}
		for i, p := range s.seen() {
			p.at = 0
			if diff := cmp.Diff(want, p, cmp.AllowUnexported(post{})); diff != "" {
				t.Errorf("request %d (-want +got):\n%s", i+1, diff)
			}
		}
	})
}

func TestRestartNeitherResetsNorBursts(t *testing.T) {
	tests := map[string]struct {
		stopAt, startAt time.Duration
		want            []time.Duration
	}{
		"between attempts":        {5 * time.Second, 7 * time.Second, seconds(0, 10, 40, 130)},
		"over a due time":         {5 * time.Second, 25 * time.Second, seconds(0, 24, 54, 144)},
		"over the whole schedule": {5 * time.Second, 500 * time.Second, seconds(0, 499, 529, 619)},
		"after the last":          {200 * time.Second, 202 * time.Second, seconds(0, 10, 40, 130)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, always(500), func(s *stack) {
				s.run()
				s.create(makeDelivery("a").obj())
				time.Sleep(tc.stopAt)
				s.stop()
				time.Sleep(tc.startAt - tc.stopAt - settling)
				s.run()
				time.Sleep(20 * time.Minute)
				sameTimes(s.t, tc.want, s.times())
				if got := s.get("a").Status.Phase; got != v1alpha1.PhaseUndeliverable {
					t.Errorf("phase %s", got)
				}
			})
		})
	}
}
