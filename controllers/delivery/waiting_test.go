// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
)

func makeSecret(data map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tasks", Name: "s"}, StringData: nil, Data: bytesOf(data),
	}
}

func bytesOf(data map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range data {
		out[k] = []byte(v)
	}
	return out
}

func (b *deliveryBuilder) secret() *deliveryBuilder {
	return b.with(func(d *v1alpha1.WebhookDelivery) {
		d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "s", Key: "webhook-secret"}
	})
}

func (s *stack) setSecret(data map[string]string) {
	s.t.Helper()
	if err := s.client.Update(context.Background(), makeSecret(data)); err != nil {
		s.t.Fatal(err)
	}
}

// reason is the stored reason why "a" is not finished, or how it ended.
func (s *stack) reason() v1alpha1.Reason { return waitReason(s.get("a")) }

func TestSecretThatArrivesLate(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").secret().obj())
		time.Sleep(20 * time.Second)
		if got := s.reason(); got != v1alpha1.ReasonSecretNotFound {
			t.Errorf("reason %s without the Secret", got)
		}
		s.create(makeSecret(map[string]string{"other": "x"}))
		time.Sleep(time.Minute)
		if got := s.reason(); got != v1alpha1.ReasonSecretKeyNotFound {
			t.Errorf("reason %s without the key", got)
		}
		s.setSecret(map[string]string{"webhook-secret": "my-secret-123"})
		time.Sleep(time.Minute)
		stored := s.get("a").Status
		if stored.Phase != v1alpha1.PhaseDelivered || len(stored.Attempts) != 1 || stored.WaitingSince != nil {
			t.Errorf("status in the end: %+v", stored)
		}
		posts, writes := s.counts()
		if posts != 1 || s.seen()[0].secret != "my-secret-123" {
			t.Errorf("requests: %+v", s.seen())
		}
		if writes != 3 { // one per reason, one per attempt, none per poll
			t.Errorf("%d status writes, want 3", writes)
		}
	})
}

func TestSecretThatNeverArrives(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").secret().obj())
		time.Sleep(time.Hour - 2*time.Second)
		if s.get("a").IsFinished() {
			t.Error("given up before the hour is over")
		}
		time.Sleep(4 * time.Second)
		d := s.get("a")
		reason, message := final(&d.Status)
		if d.Status.Phase != v1alpha1.PhaseUndeliverable || reason != v1alpha1.ReasonSecretUnavailable ||
			!strings.Contains(message, `Secret "s" not found`) {
			t.Errorf("phase %s, reason %s: %s", d.Status.Phase, reason, message)
		}
		if posts, writes := s.counts(); posts != 0 || writes != 2 {
			t.Errorf("%d requests and %d writes, want 0 and 2", posts, writes)
		}
	})
}

func TestRotatedSecretIsUsedByTheNextAttempt(t *testing.T) {
	inVirtualTime(t, failFirst(1), func(s *stack) {
		s.run()
		s.create(makeSecret(map[string]string{"webhook-secret": "old"}))
		s.create(makeDelivery("a").secret().obj())
		time.Sleep(time.Second)
		s.setSecret(map[string]string{"webhook-secret": "new"})
		time.Sleep(time.Minute)
		var sent []string
		for _, p := range s.seen() {
			sent = append(sent, p.secret)
		}
		if diff := cmp.Diff([]string{"old", "new"}, sent); diff != "" {
			t.Errorf("secrets sent (-want +got):\n%s", diff)
		}
	})
}

func TestSecretIsReadOnceForMany(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.create(makeSecret(map[string]string{"webhook-secret": "x"}))
		s.run()
		for _, name := range strings.Split("a b c d e f g h i j", " ") {
			s.create(makeDelivery(name).secret().obj())
		}
		time.Sleep(time.Second)
		if reads := s.reads.Load(); reads != 1 {
			t.Errorf("the Secret was read %d times for ten deliveries", reads)
		}
	})
}

// TestChangedSecretIsNoticed makes deliveries around the time that a value which was read serves for first attempts.
func TestChangedSecretIsNoticed(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.run()
		s.create(makeSecret(map[string]string{"webhook-secret": "old"}))
		s.create(makeDelivery("a").secret().obj())
		time.Sleep(time.Second)
		s.setSecret(map[string]string{"webhook-secret": "new"})
		time.Sleep(secretTTL - 2*time.Second)
		s.create(makeDelivery("b").secret().obj())
		time.Sleep(2 * time.Second)
		s.create(makeDelivery("c").secret().obj())
		time.Sleep(time.Second)
		var sent []string
		for _, p := range s.seen() {
			sent = append(sent, p.secret)
		}
		if diff := cmp.Diff([]string{"old", "old", "new"}, sent); diff != "" {
			t.Errorf("secrets sent (-want +got):\n%s", diff)
		}
	})
}

// TestRefusedSecretIsReadAgain is a receiver that does not accept the secret any more: the first attempt of the next
// delivery, too, uses the new one.
func TestRefusedSecretIsReadAgain(t *testing.T) {
	for _, code := range []int{401, 403} {
		inVirtualTime(t, always(code), func(s *stack) {
			s.run()
			s.create(makeSecret(map[string]string{"webhook-secret": "old"}))
			s.create(makeDelivery("a").secret().obj())
			time.Sleep(time.Second)
			s.setSecret(map[string]string{"webhook-secret": "new"})
			s.create(makeDelivery("b").secret().obj())
			time.Sleep(time.Second)
			var sent []string
			for _, p := range s.seen() {
				sent = append(sent, p.secret)
			}
			if diff := cmp.Diff([]string{"old", "new"}, sent); diff != "" {
				t.Errorf("secrets sent, %d (-want +got):\n%s", code, diff)
			}
		})
	}
}

// TestLargeSecretIsNotKept is a Secret of nearly the size that the API server takes: a thousand of them would be a
// gigabyte. It serves, and is read for each attempt.
func TestLargeSecretIsNotKept(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.create(makeSecret(map[string]string{"webhook-secret": "x", "other": strings.Repeat("x", 1<<20)}))
		s.run()
		for _, name := range []string{"a", "b"} {
			s.create(makeDelivery(name).secret().obj())
			time.Sleep(time.Second)
		}
		if posts, _ := s.counts(); posts != 2 || s.reads.Load() != 2 {
			t.Errorf("%d requests, %d reads", posts, s.reads.Load())
		}
	})
}

func TestSuspend(t *testing.T) {
	inVirtualTime(t, always(500), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").suspended().obj())
		time.Sleep(time.Minute)
		if posts, writes := s.counts(); posts != 0 || writes != 1 || s.reason() != v1alpha1.ReasonSuspended {
			t.Errorf("%d requests, %d writes, reason %s while suspended", posts, writes, s.reason())
		}
		suspend := func(on bool) {
			s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = on })
		}
		suspend(false) // attempt 1 at 60 s
		time.Sleep(5 * time.Second)
		suspend(true)
		time.Sleep(time.Second)
		suspend(false) // attempt 2 is still due at 70 s
		time.Sleep(100 * time.Millisecond)
		if s.reason() != v1alpha1.ReasonResumed {
			t.Errorf("reason %s after resuming", s.reason())
		}
		time.Sleep(10 * time.Second)
		suspend(true)
		time.Sleep(time.Hour)
		suspend(false) // attempt 3 has long been due
		time.Sleep(time.Hour)
		sameTimes(s.t, seconds(60, 70, 3676.1, 3766.1), s.times())
	})
}

func TestEndsWithoutAnAttempt(t *testing.T) {
	tests := map[string]struct {
		delivery *deliveryBuilder
		want     v1alpha1.Reason
	}{
		"expired": {makeDelivery("a").before(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)), v1alpha1.ReasonExpired},
		"payload too large": {makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) {
			d.Spec.Payload, _ = payload.New(map[string]string{"x": strings.Repeat("x", 256<<10)})
		}), v1alpha1.ReasonPayloadTooLarge},
		"not a URL that can be requested": {makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) {
			d.Spec.URL = "http://receiver.test:99999/"
		}), v1alpha1.ReasonInvalidURL},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, always(200), func(s *stack) {
				s.run()
				s.create(tc.delivery.obj())
				time.Sleep(time.Minute)
				d := s.get("a")
				if reason, _ := final(&d.Status); d.Status.Phase != v1alpha1.PhaseUndeliverable || reason != tc.want {
					t.Errorf("phase %s, reason %s, want Undeliverable, %s", d.Status.Phase, reason, tc.want)
				}
				if posts, writes := s.counts(); posts != 0 || writes != 1 {
					t.Errorf("%d requests and %d writes, want 0 and 1", posts, writes)
				}
			})
		})
	}
}

func TestLargePayloadIsReadWhenItIsSent(t *testing.T) {
	inVirtualTime(t, failFirst(1), func(s *stack) {
		s.run()
		d := makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) {
			d.Spec.Payload, _ = payload.New(map[string]string{"x": strings.Repeat("x", 100<<10)})
		}).obj()
		s.create(d)
		time.Sleep(time.Minute)
		posts := s.seen()
		if len(posts) != 2 || posts[0].body != string(d.Spec.Payload.Raw) || posts[1].body != posts[0].body {
			t.Errorf("%d requests, and not all with the whole payload", len(posts))
		}
	})
}

func TestExpiresOnTime(t *testing.T) {
	hang := func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		answer answer
		before func(*stack)
		posts  int
	}{
		"while it waits for its retry": {always(500), func(*stack) {}, 1},
		"while it waits for a slot": {hang, func(s *stack) {
			s.create(makeDelivery("b").obj())
			time.Sleep(100 * time.Millisecond)
		}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.options.Limits = lanes.Limits{Total: 1, PerEndpoint: 1, PerNamespace: 1}
				s.run()
				tc.before(s)
				s.create(makeDelivery("a").before(time.Now().Add(4 * time.Second)).obj())
				time.Sleep(4500 * time.Millisecond)
				d := s.get("a")
				if reason, _ := final(&d.Status); reason != v1alpha1.ReasonExpired {
					t.Errorf("phase %s, reason %s half a second after the deadline", d.Status.Phase, reason)
				}
				if posts, _ := s.counts(); posts != tc.posts {
					t.Errorf("%d requests, want %d", posts, tc.posts)
				}
			})
		})
	}
}

// TestDeadlinePassesWhileASecretIsRead lets spec.deliverBefore pass between plan and the request.
func TestDeadlinePassesWhileASecretIsRead(t *testing.T) {
	for name, there := range map[string]bool{"a Secret that is there": true, "a Secret that is missing": false} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, always(200), func(s *stack) {
				if there {
					s.create(makeSecret(map[string]string{"webhook-secret": "x"}))
				}
				s.secretReads = 3 * time.Second
				s.run()
				s.create(makeDelivery("a").secret().before(time.Now().Add(2 * time.Second)).obj())
				time.Sleep(5 * time.Second)
				d := s.get("a")
				if reason, _ := final(&d.Status); reason != v1alpha1.ReasonExpired {
					t.Errorf("phase %s, reason %s, want an end with %s", d.Status.Phase, reason, v1alpha1.ReasonExpired)
				}
				if posts, _ := s.counts(); posts != 0 {
					t.Errorf("%d requests after the deadline", posts)
				}
			})
		})
	}
}
