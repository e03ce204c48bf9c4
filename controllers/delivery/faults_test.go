// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
)

var (
	errAway    = errors.New("connection refused")
	deliveries = v1alpha1.GroupVersion.WithResource("webhookdeliveries").GroupResource()
)

// broken lets write through only while ok holds, and answers err otherwise.
func broken(ok func() bool, err error) func(func() error) error {
	return func(write func() error) error {
		if ok() {
			return write()
		}
		return err
	}
}

func since(s *stack, d time.Duration) func() bool {
	return func() bool { return s.elapsed() >= d }
}

func never() bool { return false }

func TestFailedWrites(t *testing.T) {
	refused := apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("WebhookDelivery").GroupKind(), "a", nil)
	forbidden := apierrors.NewForbidden(deliveries, "a", errors.New("denied by policy"))
	tests := map[string]struct {
		answer answer
		patch  func(*stack) func(func() error) error
		want   []time.Duration
		phase  v1alpha1.Phase
	}{
		"API server away for a minute, delivered at once": {failFirst(0),
			func(s *stack) func(func() error) error { return broken(since(s, time.Minute), errAway) },
			seconds(0), v1alpha1.PhaseDelivered},
		"API server away for a minute, retries wait for it": {failFirst(1),
			func(s *stack) func(func() error) error { return broken(since(s, time.Minute), errAway) },
			seconds(0, 62.55), v1alpha1.PhaseDelivered},
		"server errors": {always(500),
			func(s *stack) func(func() error) error {
				var n atomic.Int32
				return broken(func() bool { return n.Add(1)%2 == 0 }, apierrors.NewInternalError(errAway))
			}, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"written, but the answer is lost": {always(500),
			func(s *stack) func(func() error) error {
				return func(write func() error) error {
					if err := write(); err != nil {
						return err
					}
					return errAway
				}
			}, seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"refused for good: the schedule goes on and ends": {always(500),
			func(*stack) func(func() error) error { return broken(never, refused) },
			seconds(0, 10, 40, 130), v1alpha1.PhasePending},
		"refused by a policy for a while: recorded in the end": {always(500),
			func(s *stack) func(func() error) error { return broken(since(s, 5*time.Minute), forbidden) },
			seconds(0, 10, 40, 130), v1alpha1.PhaseUndeliverable},
		"gone, as with the CRD: no second request": {always(500),
			func(*stack) func(func() error) error {
				return broken(never, apierrors.NewNotFound(deliveries, "a"))
			}, seconds(0), v1alpha1.PhasePending},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				s.patch = tc.patch(s)
				s.run()
				s.create(makeDelivery("a").obj())
				time.Sleep(30 * time.Minute)
				sameTimes(s.t, tc.want, s.times())
				if got := s.get("a").Status.Phase; got != tc.phase {
					t.Errorf("phase %s, want %s", got, tc.phase)
				}
				if unwritten, inFlight := s.running.reconciler.ledger.load(); unwritten != 0 || inFlight != 0 {
					t.Errorf("%d outcomes unwritten, %d requests in flight", unwritten, inFlight)
				}
			})
		})
	}
}

func TestBackPressure(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.options.MaxUnwritten = 3
		s.options.Limits.Total = 1
		s.options.Limits.PerEndpoint = 1
		s.options.Limits.PerNamespace = 1
		s.patch = broken(since(s, 10*time.Minute), errAway)
		s.run()
		for i := range 20 {
			s.create(makeDelivery(fmt.Sprint("d", i)).obj())
		}
		time.Sleep(9 * time.Minute)
		if posts, _ := s.counts(); posts > 3 {
			t.Errorf("%d requests while no outcome could be written, want at most 3", posts)
		}
		time.Sleep(10 * time.Minute)
		if posts, writes := s.counts(); posts != 20 || writes != 20 {
			t.Errorf("%d requests and %d writes in the end, want 20 each", posts, writes)
		}
	})
}

func TestChangesInMidFlight(t *testing.T) {
	tests := map[string]struct {
		during func(*stack)
		then   func(*stack)
		posts  int
		phase  v1alpha1.Phase
	}{
		"suspended: the attempt counts": {
			during: func(s *stack) { s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = true }) },
			then:   func(s *stack) { s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = false }) },
			posts:  4, phase: v1alpha1.PhaseUndeliverable,
		},
		"deleted: no more attempts": {
			during: func(s *stack) { s.delete("a") },
			posts:  1,
		},
		"deleted and made again: another delivery": {
			during: func(s *stack) {
				s.delete("a")
				s.create(makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) { d.UID = "uid-b" }).obj())
			},
			posts: 5, phase: v1alpha1.PhaseUndeliverable,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var s *stack
			receiver := func(n int, w http.ResponseWriter, _ *http.Request) {
				if n == 1 {
					tc.during(s)
				}
				w.WriteHeader(http.StatusBadGateway)
			}
			inVirtualTime(t, receiver, func(made *stack) {
				s = made
				s.run()
				s.create(makeDelivery("a").obj())
				time.Sleep(time.Minute)
				if tc.then != nil {
					tc.then(s)
				}
				time.Sleep(10 * time.Minute)
				if posts, _ := s.counts(); posts != tc.posts {
					t.Errorf("%d requests, want %d", posts, tc.posts)
				}
				if tc.phase != "" && s.get("a").Status.Phase != tc.phase {
					t.Errorf("phase %s, want %s", s.get("a").Status.Phase, tc.phase)
				}
			})
		})
	}
}

func (s *stack) delete(name string) {
	if err := s.client.Delete(context.Background(), s.get(name)); err != nil {
		s.t.Error(err)
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	inVirtualTime(t, slowly(5*time.Second, http.StatusOK), func(s *stack) {
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Second)
		s.patch = broken(since(s, 12*time.Second), errAway) // and the write has to be repeated
		s.stop()
		if got := s.get("a").Status.Phase; got != v1alpha1.PhaseDelivered {
			t.Errorf("phase %q after the shutdown", got)
		}
		s.run()
		time.Sleep(time.Minute)
		if posts, _ := s.counts(); posts != 1 {
			t.Errorf("%d requests, want 1", posts)
		}
	})
}

func TestNothingIsSentWithoutTheLease(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.maySend = since(s, time.Minute)
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(2 * time.Minute)
		if got := s.times(); len(got) != 1 || got[0] < time.Minute {
			t.Errorf("requests at %v, want one after a minute", got)
		}
	})
}

func TestTakeoverKeepsToWhatTheOtherWrote(t *testing.T) {
	var s *stack
	// While the request is in flight, another process records the same attempt.
	receiver := func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			d := s.get("a")
			d.Status = DefaultPolicy().afterAttempt(d, failure(1, time.Now().Add(-time.Second)))
			if err := s.client.Status().Update(context.Background(), d); err != nil {
				s.t.Error(err)
			}
		}
		w.WriteHeader(http.StatusInternalServerError)
	}
	inVirtualTime(t, receiver, func(made *stack) {
		s = made
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(10 * time.Minute)
		stored := s.get("a").Status
		if posts, _ := s.counts(); posts != 4 || len(stored.Attempts) != 4 {
			t.Errorf("%d requests and %d attempts, want 4 each", posts, len(stored.Attempts))
		}
	})
}

func TestNoRequestBeginsAfterAShutdown(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.create(makeSecret(map[string]string{"webhook-secret": "x"}))
		s.secretReads = 5 * time.Second
		s.run()
		s.create(makeDelivery("a").secret().obj())
		time.Sleep(time.Second)
		s.stop() // while the request is being prepared
		if posts, _ := s.counts(); posts != 0 {
			t.Errorf("%d requests after the shutdown had begun", posts)
		}
		s.run()
		time.Sleep(time.Minute)
		if posts, _ := s.counts(); posts != 1 {
			t.Errorf("%d requests in the end, want 1", posts)
		}
	})
}

// TestBackPressureSparesTheAPIServer takes payloads that are read only when they are sent.
func TestBackPressureSparesTheAPIServer(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.options.MaxUnwritten = 1
		s.options.Limits = lanes.Limits{Total: 1, PerEndpoint: 1, PerNamespace: 1}
		s.patch = broken(since(s, 5*time.Minute), errAway)
		s.run()
		for i := range 20 {
			s.create(makeDelivery(fmt.Sprint(i)).with(func(d *v1alpha1.WebhookDelivery) {
				d.Spec.Payload, _ = payload.New(map[string]string{"x": strings.Repeat("x", 20<<10)})
			}).obj())
		}
		time.Sleep(4 * time.Minute)
		if reads := s.reads.Load(); reads > 5 {
			t.Errorf("%d reads while nothing may be sent", reads)
		}
		time.Sleep(2 * time.Minute)
		if posts, _ := s.counts(); posts != 20 {
			t.Errorf("%d requests in the end, want 20", posts)
		}
	})
}

func TestShutdownWritesManyOutcomes(t *testing.T) {
	const objects = 200
	inVirtualTime(t, always(200), func(s *stack) {
		s.patch = func(write func() error) error {
			if s.elapsed() < 30*time.Second {
				return errAway
			}
			time.Sleep(200 * time.Millisecond) // one after the other, it would take 40 s
			return write()
		}
		s.run()
		for i := range objects {
			s.create(makeDelivery(fmt.Sprint(i)).obj())
		}
		time.Sleep(30 * time.Second)
		s.stop()
		for i := range objects {
			if d := s.get(fmt.Sprint(i)); !d.IsDelivered() {
				t.Fatalf("%d is %s after the shutdown", i, d.Status.Phase)
			}
		}
	})
}

func TestFlushEndsInTime(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.unanswered = func() bool { return s.elapsed() < time.Minute }
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(15 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.running.reconciler.Flush(ctx); err == nil {
			t.Error("flushed, although no write is answered")
		}
		if took := time.Since(began); took > 2500*time.Millisecond {
			t.Errorf("took %s, although it had 2s", took)
		}
	})
}

// TestConflicts counts the calls of the API server while writes conflict.
func TestConflicts(t *testing.T) {
	conflict := apierrors.NewConflict(deliveries, "a", errors.New("changed"))
	tests := map[string]struct {
		delivery *deliveryBuilder
		lag      time.Duration
		conflict func(*stack) bool // although nothing has changed
		during   func(*stack)
		calls    int32
		posts    int
	}{
		"without a reason, after a request": {makeDelivery("a"), 0,
			func(s *stack) bool { return s.elapsed() < time.Minute }, func(*stack) {}, 50, 1},
		"without a reason, before one": {makeDelivery("a").suspended(), 0,
			func(s *stack) bool { return s.elapsed() < time.Minute }, func(*stack) {}, 50, 0},
		"while the cache is behind": {makeDelivery("a").suspended(), 15 * time.Second,
			func(*stack) bool { return false }, func(s *stack) {
				time.Sleep(10 * time.Second)
				s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Labels = map[string]string{"x": "y"} })
			}, 3, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, always(200), func(s *stack) {
				var calls atomic.Int32
				s.watchLag = tc.lag
				s.patch = func(write func() error) error {
					calls.Add(1)
					if tc.conflict(s) {
						return conflict
					}
					return write()
				}
				s.run()
				s.create(tc.delivery.obj())
				tc.during(s)
				time.Sleep(2 * time.Minute)
				if n := calls.Load(); n > tc.calls {
					t.Errorf("%d writes, want at most %d", n, tc.calls)
				}
				if posts, writes := s.counts(); posts != tc.posts || writes != 1 {
					t.Errorf("%d requests and %d writes that were stored, want %d and 1", posts, writes, tc.posts)
				}
			})
		})
	}
}

// TestConflictDoesNotKeepThePayload bounds the memory of outcomes that cannot be written.
func TestConflictDoesNotKeepThePayload(t *testing.T) {
	var s *stack
	receiver := func(_ int, w http.ResponseWriter, _ *http.Request) {
		s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Labels = map[string]string{"x": "y"} })
		w.WriteHeader(http.StatusOK)
	}
	inVirtualTime(t, receiver, func(made *stack) {
		s = made
		var n atomic.Int32
		s.patch = func(write func() error) error {
			if n.Add(1) == 1 || s.elapsed() > time.Minute {
				return write()
			}
			return errAway
		}
		s.run()
		d := makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) {
			d.Spec.Payload, _ = payload.New(map[string]string{"x": strings.Repeat("x", 100<<10)})
		}).obj()
		s.create(d)
		time.Sleep(10 * time.Second)
		out := s.running.reconciler.ledger.held(types.NamespacedName{Namespace: d.Namespace, Name: d.Name})
		if out == nil || len(out.delivery.Spec.Payload.Raw) != 0 {
			t.Errorf("held: %+v", out)
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestEndIsToldOnce lets the answer to the final write get lost.
func TestEndIsToldOnce(t *testing.T) {
	inVirtualTime(t, always(500), func(s *stack) {
		ended := finishedTotal.WithLabelValues(string(v1alpha1.PhaseUndeliverable), string(v1alpha1.ReasonRetriesExhausted))
		before := testutil.ToFloat64(ended)
		s.patch = func(write func() error) error { return errors.Join(write(), errAway) }
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Hour)
		if n := testutil.ToFloat64(ended) - before; n != 1 {
			t.Errorf("counted %v times", n)
		}
		if n := len(s.events.Events); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// TestLostAnswersAfterARefusal refuses to store the first attempt, and stores the second without answering for a while.
func TestLostAnswersAfterARefusal(t *testing.T) {
	inVirtualTime(t, failFirst(1), func(s *stack) {
		writes := 0
		s.patch = func(write func() error) error {
			writes++
			switch {
			case s.elapsed() < 5*time.Second:
				return apierrors.NewForbidden(deliveries, "a", errors.New("denied by policy"))
			case s.elapsed() < time.Minute:
				return errors.Join(write(), errors.New("answer lost"))
			}
			return write()
		}
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Hour)
		if d := s.get("a"); !d.IsDelivered() || len(d.Status.Attempts) != 2 {
			t.Errorf("status %+v", d.Status)
		}
		if writes > 4 { // the refused one, the one whose answer was lost, and how it was found out
			t.Errorf("%d writes for two attempts", writes)
		}
		if n := s.running.reconciler.ledger.size(); n != 0 {
			t.Errorf("the ledger still knows %d deliveries", n)
		}
	})
}

// TestNothingIsKeptOfWhatIsDeleted deletes an object while the outcome of its attempt cannot be written.
func TestNothingIsKeptOfWhatIsDeleted(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.patch = broken(since(s, time.Minute), errAway)
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(30 * time.Second)
		s.delete("a")
		time.Sleep(2 * time.Minute)
		if n := s.running.reconciler.ledger.size(); n != 0 {
			t.Errorf("the ledger still knows %d deliveries", n)
		}
	})
}

// TestDeletedWhileTheCacheIsBehind deletes an object while its request is in flight and the cache has yet to see a change from
// before that: what it then shows is newer than what was sent, and gone all the same.
func TestDeletedWhileTheCacheIsBehind(t *testing.T) {
	slow := func(int, http.ResponseWriter, *http.Request) { time.Sleep(4 * time.Second) }
	inVirtualTime(t, slow, func(s *stack) {
		s.watchLag = 5 * time.Second
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(2 * time.Second)
		s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Labels = map[string]string{"x": "y"} }) // seen at 7 s
		time.Sleep(6 * time.Second)
		s.delete("a") // at 8 s, answered at 9 s
		time.Sleep(time.Minute)
		if posts, _ := s.counts(); posts != 1 {
			t.Errorf("%d requests, want 1", posts)
		}
		if n := s.running.reconciler.ledger.size(); n != 0 {
			t.Errorf("the ledger still knows %d deliveries", n)
		}
	})
}

// TestSlowWritesHoldNoSlot lets the API server take long for one outcome: the slot of its request is free for the next.
func TestSlowWritesHoldNoSlot(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.options.Limits = lanes.Limits{Total: 1, PerEndpoint: 1, PerNamespace: 1}
		s.patch = func(write func() error) error {
			time.Sleep(5 * time.Second)
			return write()
		}
		s.run()
		for i := range 4 {
			s.create(makeDelivery(fmt.Sprint(i)).obj())
		}
		time.Sleep(time.Second)
		if posts, _ := s.counts(); posts != 4 {
			t.Errorf("%d requests while the first outcome is being written, want all 4", posts)
		}
		time.Sleep(time.Minute)
	})
}

// slowly answers with code after a time.
func slowly(takes time.Duration, code int) answer {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		time.Sleep(takes)
		w.WriteHeader(code)
	}
}

// TestLabelledViewAhead records an attempt, and has the label come and go before the other view shows the record.
func TestLabelledViewAhead(t *testing.T) {
	inVirtualTime(t, always(500), func(s *stack) {
		s.mainLag = 5 * time.Second
		s.patch = broken(func() bool { return s.elapsed() < 6*time.Second || s.elapsed() >= 8*time.Second }, errAway)
		s.run()
		s.create(makeDelivery("a").obj()) // seen, sent and recorded after 5 s; the record is seen after 10 s
		s.wait(6 * time.Second)
		s.label()
		s.wait(7 * time.Second)
		s.change("a", func(d *v1alpha1.WebhookDelivery) { d.Labels = nil })
		time.Sleep(30 * time.Minute)
		if d := s.get("a"); len(s.seen()) != 4 || len(d.Status.Attempts) != 4 {
			t.Errorf("requests at %v, %d attempts recorded, want 4", s.times(), len(d.Status.Attempts))
		}
	})
}

// TestTryNowAfterALostAnswer stores that the next attempt is made now, without answering.
func TestTryNowAfterALostAnswer(t *testing.T) {
	inVirtualTime(t, always(500), func(s *stack) {
		s.watchLag = 2 * time.Second
		s.patch = func(write func() error) error {
			if s.elapsed() > 10*time.Second && s.elapsed() < 50*time.Second {
				return errors.Join(write(), errAway)
			}
			return write()
		}
		s.policy.Schedule = []time.Duration{10 * time.Minute}
		s.run()
		s.create(makeDelivery("a").obj())
		s.wait(20 * time.Second)
		s.label()
		time.Sleep(time.Minute)
		if n := len(s.seen()); n != 2 {
			t.Errorf("%d requests a minute after the label, want 2", n)
		}
	})
}

// TestFlushLeavesWritesUnderWay ends the operator while the outcome of a request is being written.
func TestFlushLeavesWritesUnderWay(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		writes := 0
		s.patch = func(write func() error) error {
			writes++
			time.Sleep(3 * time.Second)
			return write()
		}
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Second)
		s.stop()
		if d := s.get("a"); writes != 1 || !d.IsDelivered() {
			t.Errorf("%d writes, phase %s", writes, d.Status.Phase)
		}
	})
}

// TestRefusedEndIsOfferedAtAShutdown refuses an end, which is offered again every five minutes, and ends the operator
// soon after the refusals have.
func TestRefusedEndIsOfferedAtAShutdown(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.patch = broken(since(s, time.Minute), apierrors.NewForbidden(deliveries, "a", errors.New("denied by policy")))
		s.run()
		s.create(makeDelivery("a").obj())
		s.wait(90 * time.Second)
		s.stop()
		if d := s.get("a"); !d.IsDelivered() {
			t.Errorf("phase %s after the shutdown", d.Status.Phase)
		}
		s.run()
		time.Sleep(time.Minute)
		if n := len(s.seen()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}
