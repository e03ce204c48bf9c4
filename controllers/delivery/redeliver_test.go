// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// label asks for "a" to be delivered again, as kubectl label does.
func (s *stack) label() {
	s.t.Helper()
	d := s.get("a")
	d.Labels = map[string]string{v1alpha1.LabelRedeliver: "true", "kept": "yes"}
	if err := s.client.Update(context.Background(), d); err != nil {
		s.t.Fatal(err)
	}
}

func TestRedelivery(t *testing.T) {
	tests := map[string]struct {
		answer answer
		lag    time.Duration
		labels []time.Duration
		want   []time.Duration
		rounds int32
		phase  v1alpha1.Phase
	}{
		"delivered once more": {failFirst(0), 0, seconds(60), seconds(0, 60), 1, v1alpha1.PhaseDelivered},
		"a whole new round": {failFirst(4), 0, seconds(200), seconds(0, 10, 40, 130, 200), 1,
			v1alpha1.PhaseDelivered},
		"three times":           {failFirst(0), 0, seconds(60, 120, 180), seconds(0, 60, 120, 180), 3, v1alpha1.PhaseDelivered},
		"watch lags":            {failFirst(0), 15 * time.Second, seconds(60), seconds(15, 105), 1, v1alpha1.PhaseDelivered},
		"unfinished: try now":   {failFirst(1), 0, seconds(3), seconds(0, 3), 0, v1alpha1.PhaseDelivered},
		"try now, and the rest": {always(500), 0, seconds(3), seconds(0, 3, 33, 123), 0, v1alpha1.PhaseUndeliverable},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.watchLag = tc.lag
				s.run()
				s.create(makeDelivery("a").obj())
				for _, at := range tc.labels {
					time.Sleep(at - s.elapsed())
					s.label()
				}
				time.Sleep(10 * time.Minute)
				sameTimes(s.t, tc.want, s.times())
				d := s.get("a")
				if d.Status.Phase != tc.phase || d.Status.Redeliveries != tc.rounds || d.Status.RedeliverAccepted {
					t.Errorf("status in the end: %+v", d.Status)
				}
				if len(d.Labels) != 1 {
					t.Errorf("labels in the end: %v", d.Labels)
				}
				for _, p := range s.seen() {
					if p.id != "uid-a" {
						t.Errorf("webhook-id %q", p.id)
					}
				}
			})
		})
	}
}

func TestRedeliveryIsNotRepeatedByACrash(t *testing.T) {
	inVirtualTime(t, failFirst(0), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Minute)
		s.unlabel = broken(never, errors.New("crash"))
		s.label()
		time.Sleep(time.Second)
		if d := s.get("a"); !d.Status.RedeliverAccepted || !isLabelled(d) {
			t.Fatalf("not between the two writes: %+v", d)
		}
		if posts, _ := s.counts(); posts != 1 {
			t.Errorf("%d requests before the label is gone", posts)
		}
		s.stop()
		s.unlabel = nil
		s.run()
		time.Sleep(time.Hour)
		if posts, _ := s.counts(); posts != 2 || s.get("a").Status.Redeliveries != 1 {
			t.Errorf("%d requests and %d redeliveries, want 2 and 1", posts, s.get("a").Status.Redeliveries)
		}
	})
}

// TestRedeliveryWaitsUntilItCanBeRecorded labels an object whose status the API server refuses for a while.
func TestRedeliveryWaitsUntilItCanBeRecorded(t *testing.T) {
	refusal := apierrors.NewForbidden(deliveries, "a", errors.New("denied by policy"))
	tests := map[string]struct {
		answer   answer
		from, to time.Duration // the refusals
		posts    int           // before they end
		want     int           // in the end
		rounds   int32
	}{
		"of one that has ended": {failFirst(0), 30 * time.Second, 20 * time.Minute, 1, 2, 1},
		"of one that has not":   {always(500), 0, 20 * time.Minute, 3, 4, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.patch = broken(func() bool { return s.elapsed() < tc.from || s.elapsed() >= tc.to }, refusal)
				s.run()
				s.create(makeDelivery("a").obj())
				time.Sleep(time.Minute)
				s.label()
				time.Sleep(18 * time.Minute)
				if posts, _ := s.counts(); posts != tc.posts || !isLabelled(s.get("a")) {
					t.Errorf("%d requests, want %d, labels %v", posts, tc.posts, s.get("a").Labels)
				}
				time.Sleep(time.Hour)
				d := s.get("a")
				if posts, _ := s.counts(); posts != tc.want || d.Status.Redeliveries != tc.rounds || isLabelled(d) {
					t.Errorf("%d requests in the end, want %d: %v %+v", posts, tc.want, d.Labels, d.Status)
				}
				if !d.IsFinished() {
					t.Errorf("phase %s in the end", d.Status.Phase)
				}
			})
		})
	}
}
