// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/events"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// warnings are the events since the last call, without their messages.
func (s *stack) warnings() (all []string) {
	for {
		select {
		case e := <-s.events.Events:
			fields := strings.Fields(e)
			all = append(all, fields[0]+" "+fields[1])
		default:
			return all
		}
	}
}

func TestEvents(t *testing.T) {
	const notFound, unavailable = "Warning SecretNotFound", "Warning SecretUnavailable"
	good := map[string]string{"webhook-secret": "x"}
	waits := func() *v1alpha1.WebhookDelivery { return makeDelivery("a").secret().obj() }
	tests := map[string]struct {
		answer answer
		play   func(*stack)
		want   []string
		writes int
	}{
		"delivered": {failFirst(0), func(s *stack) { s.create(makeDelivery("a").obj()) }, nil, 1},
		"delivered at last": {failFirst(3), func(s *stack) {
			s.create(makeDelivery("a").obj())
			time.Sleep(time.Hour)
		}, nil, 4},
		"given up": {always(500), func(s *stack) {
			s.create(makeDelivery("a").obj())
			time.Sleep(time.Hour)
		}, []string{"Warning RetriesExhausted"}, 4},
		"given up twice": {always(500), func(s *stack) {
			s.create(makeDelivery("a").obj())
			time.Sleep(time.Hour)
			s.label()
			time.Sleep(time.Hour)
		}, []string{"Warning RetriesExhausted", "Warning RetriesExhausted"}, 9},
		"the Secret comes within a minute": {always(200), func(s *stack) {
			s.create(waits())
			time.Sleep(59 * time.Second)
			s.create(makeSecret(good))
			time.Sleep(time.Hour)
		}, nil, 2},
		"the Secret comes after two minutes": {always(200), func(s *stack) {
			s.create(waits())
			time.Sleep(2 * time.Minute)
			s.create(makeSecret(good))
			time.Sleep(time.Hour)
		}, []string{notFound}, 2},
		"the Secret never comes": {always(200), func(s *stack) {
			s.create(waits())
			time.Sleep(2 * time.Hour)
		}, []string{notFound, unavailable}, 2},
		"the reason changes during the wait": {always(200), func(s *stack) {
			s.create(waits())
			time.Sleep(10 * time.Minute)
			s.create(makeSecret(map[string]string{"other": "x"}))
			time.Sleep(10 * time.Minute)
		}, []string{notFound}, 2},
		"two waits": {failFirst(1), func(s *stack) {
			s.create(waits())
			time.Sleep(5 * time.Minute)
			s.create(makeSecret(good))
			for len(s.seen()) == 0 { // attempt 1, which fails
				time.Sleep(time.Second)
			}
			s.setSecret(map[string]string{"other": "x"})
			time.Sleep(5 * time.Minute)
		}, []string{notFound, "Warning SecretKeyNotFound"}, 3},
		"the operator is restarted during the wait": {always(200), func(s *stack) {
			s.create(waits())
			time.Sleep(10 * time.Minute)
			s.stop()
			s.run()
			time.Sleep(10 * time.Minute)
		}, []string{notFound, notFound}, 1},
		"suspended": {always(200), func(s *stack) {
			s.create(makeDelivery("a").suspended().obj())
			time.Sleep(time.Hour)
		}, nil, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.run()
				tc.play(s)
				time.Sleep(time.Second)
				if diff := cmp.Diff(tc.want, s.warnings()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if _, writes := s.counts(); writes != tc.writes {
					t.Errorf("%d status writes, want %d", writes, tc.writes)
				}
			})
		})
	}
}

// TestEventsAreBounded lets more deliveries wait, and fail, in one second than there may be events: the waits are all
// told of in the end, as they last, and what was given up shows in the objects.
func TestEventsAreBounded(t *testing.T) {
	const n = 100
	inVirtualTime(t, always(500), func(s *stack) {
		s.run()
		for i := range n {
			s.create(makeDelivery(fmt.Sprint("waits", i)).secret().obj())
			s.create(makeDelivery(fmt.Sprint("fails", i)).obj())
		}
		total := map[string]int{}
		for second := range 5 * 60 {
			time.Sleep(time.Second)
			got := s.warnings()
			if len(got) > eventBurst+eventsPerSecond {
				t.Errorf("%d events in second %d", len(got), second)
			}
			for _, e := range got {
				total[e]++
			}
		}
		if total["Warning SecretNotFound"] != n {
			t.Errorf("%d of %d waits were told of", total["Warning SecretNotFound"], n)
		}
		if got := total["Warning RetriesExhausted"]; got == 0 || got > eventBurst+eventsPerSecond {
			t.Errorf("%d events of %d failures in the same second", got, n)
		}
	})
}

// TestEventMessages reads them as kubectl describe shows them, and makes sure that the API server takes the longest.
func TestEventMessages(t *testing.T) {
	const most = 1024 // bytes, by the API's validation of events
	long := strings.Repeat("n", 253)
	d := makeDelivery(long).waiting(v1alpha1.ReasonSecretKeyNotFound, t0).obj()
	_, missing := value(nil, long, long)
	why, _ := asUnusable(missing)
	tests := map[string]struct {
		emit func(*eventWriter)
		want string // all, or the end of a long one
	}{
		"given up": {
			func(w *eventWriter) {
				w.undeliverable(d, v1alpha1.ReasonRetriesExhausted, exhausted([]v1alpha1.Attempt{{Message: "503 Service Unavailable"}}))
			},
			"Warning RetriesExhausted given up: all 1 attempts failed, the last with: 503 Service Unavailable. " +
				"The payload stays in spec.payload until the object is deleted; when the receiver is well again, " +
				"label this object webhookdelivery.dev/redeliver=true to deliver it again",
		},
		"given up for want of a Secret": {
			func(w *eventWriter) { w.undeliverable(d, v1alpha1.ReasonSecretUnavailable, why.message) },
			": add it. The payload stays in spec.payload until the object is deleted; mend the Secret, then " +
				"label this object webhookdelivery.dev/redeliver=true to deliver it again",
		},
		"waiting": {
			func(w *eventWriter) { w.waiting(d, why, t0.Add(time.Hour)) },
			`": add it. Waiting since ` + t0.Format(time.RFC3339) + " without spending an attempt: looked at again within 30s, " +
				"given up at " + t0.Add(time.Hour).Format(time.RFC3339),
		},
		"the longest failure": {
			func(w *eventWriter) {
				w.undeliverable(d, v1alpha1.ReasonRetriesExhausted, exhausted([]v1alpha1.Attempt{{Message: strings.Repeat("m", 256)}}))
			}, "to deliver it again",
		},
		"refused": {func(w *eventWriter) { w.unstored(d) }, "the object's size is the cause"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(1)
			tc.emit(newEventWriter(recorder))
			got := <-recorder.Events
			if !strings.HasSuffix(got, tc.want) || len(got) > most {
				t.Errorf("%d bytes, want %q at the end:\n%s", len(got), tc.want, got)
			}
		})
	}
	for _, reason := range []v1alpha1.Reason{
		v1alpha1.ReasonRetriesExhausted, v1alpha1.ReasonAddressDenied, v1alpha1.ReasonInsecureURL,
		v1alpha1.ReasonInvalidURL, v1alpha1.ReasonSecretUnavailable, v1alpha1.ReasonPayloadTooLarge, v1alpha1.ReasonExpired,
	} {
		if nextSteps[reason] == "" {
			t.Errorf("there is no advice for %s", reason)
		}
	}
}
