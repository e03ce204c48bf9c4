// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

var groupResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: resource}

// world is an API server in memory, and a Sweeper in virtual time.
type world struct {
	t       *testing.T
	start   time.Time
	options Options
	objects []finished // Delivered unless named "undeliverable…"
	// onList and onDelete, if set, stand before the call: what they return is the answer, unless that is nil.
	onList   func(namespace string, phase v1alpha1.Phase, token string) error
	onDelete func(ctx context.Context, o object) error

	mu      sync.Mutex
	deleted []deletion
	logged  []string
}

// deletion is what was deleted, and when, counted from the start of the test.
type deletion struct {
	Name string
	At   time.Duration
}

// inVirtualTime runs test. Its options delete without a limit, but one at a time, and list two objects a page.
func inVirtualTime(t *testing.T, test func(*world)) {
	virtualtime.Test(t, func(t *testing.T) {
		options := DefaultOptions()
		options.PageSize = 2
		options.DeletesPerSecond, options.DeletesAtOnce = math.Inf(1), 1
		test(&world{t: t, start: time.Now(), options: options})
	})
}

// add adds an object that finished ago before the start, with its own time to live if ttl is not nil.
func (w *world) add(name string, ago time.Duration, ttl *time.Duration) {
	o := object{types.NamespacedName{Namespace: "tasks", Name: name}, types.UID(name), "1"}
	w.objects = append(w.objects, finished{o, w.start.Add(-ago), ttl})
}

func (w *world) run(d time.Duration) []deletion {
	w.t.Helper()
	if err := w.options.Validate(); err != nil {
		w.t.Fatal(err)
	}
	log := funcr.New(func(_, line string) { w.logged = append(w.logged, line) }, funcr.Options{})
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	if err := newSweeper(w, w, w.options, log).Start(ctx); err != nil {
		w.t.Error(err)
	}
	if took := time.Since(w.start); took != d {
		w.t.Errorf("Start returned after %v, want %v, when its context ended", took, d)
	}
	return w.deleted
}

func (w *world) list(_ context.Context, namespace string, phase v1alpha1.Phase, token string) (page, error) {
	if w.onList != nil {
		if err := w.onList(namespace, phase, token); err != nil {
			return page{}, err
		}
	}
	var all []finished
	for _, f := range w.objects {
		undeliverable := strings.HasPrefix(f.Name, "undeliverable")
		if undeliverable == (phase == v1alpha1.PhaseUndeliverable) && (namespace == "" || namespace == f.Namespace) {
			all = append(all, f)
		}
	}
	first := 0
	if token != "" {
		var err error
		if first, err = strconv.Atoi(strings.TrimPrefix(token, "again-")); err != nil {
			w.t.Error(err)
		}
	}
	first = min(first, len(all))
	last := min(first+int(w.options.PageSize), len(all))
	p := page{rows: all[first:last]}
	if last < len(all) {
		p.next = strconv.Itoa(last)
	}
	return p, nil
}

func (w *world) delete(ctx context.Context, o object) error {
	if w.onDelete != nil {
		if err := w.onDelete(ctx, o); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range w.objects {
		if f.object == o {
			w.objects = append(w.objects[:i:i], w.objects[i+1:]...)
			w.deleted = append(w.deleted, deletion{o.Name, time.Since(w.start)})
			return nil
		}
	}
	return apierrors.NewConflict(groupResource, o.Name, errors.New("the object has changed"))
}

func (w *world) check(want, got []deletion) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("deleted (-want +got):\n%s", diff)
	}
}

func TestDeletedWhenDue(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.Delivered, w.options.Undeliverable = nil, nil
		for name, wait := range map[string]time.Duration{
			"overdue": -time.Hour, "now": 0, "soon": time.Nanosecond, "half": 30*time.Second + time.Millisecond,
			"at the next sweep": time.Minute, "after the next sweep": time.Minute + time.Nanosecond,
			"much later": 150 * time.Second, "past the test": 10 * time.Minute,
		} {
			w.add(name, time.Hour, new(time.Hour+wait))
		}
		w.add("for ever", 1000*time.Hour, nil)
		w.check([]deletion{
			{"overdue", 0}, {"now", 0}, {"soon", 1}, {"half", 30*time.Second + time.Millisecond},
			{"at the next sweep", time.Minute}, {"after the next sweep", time.Minute + 1}, {"much later", 150 * time.Second},
		}, w.run(3*time.Minute+time.Second))
		if len(w.logged) != 0 {
			t.Errorf("logged %q", w.logged)
		}
	})
}

func TestDefaultsDifferByOutcome(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.Delivered, w.options.Undeliverable = new(10*time.Second), new(20*time.Second)
		w.add("delivered", 0, nil)
		w.add("undeliverable", 0, nil)
		w.add("undeliverable, own", 0, new(15*time.Second))
		w.add("own", 0, new(30*time.Second))
		w.add("at once", 0, new(time.Duration(0)))
		w.check([]deletion{
			{"at once", 0}, {"delivered", 10 * time.Second}, {"undeliverable, own", 15 * time.Second},
			{"undeliverable", 20 * time.Second}, {"own", 30 * time.Second},
		}, w.run(time.Minute))
	})
}

func TestDeletesAreBounded(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.DeletesPerSecond = 10
		for i := range 1000 {
			w.add(fmt.Sprint(i), 48*time.Hour+time.Duration(i)*time.Second, nil)
		}
		got := w.run(90 * time.Second)
		for i, d := range got {
			if want := fmt.Sprint(999 - i); d.Name != want {
				t.Errorf("%s was deleted as number %d, want %s: what was due first goes first", d.Name, i, want)
			}
			if i >= 10 && d.At-got[i-10].At < time.Second-time.Microsecond {
				t.Errorf("more than 10 deletes within %v", d.At-got[i-10].At)
			}
		}
		if len(got) < 850 || len(got) > 901 {
			t.Errorf("%d deletes in 90 s, want about 10 a second", len(got))
		}
	})
}

// TestDeletesAtOnce has an API server that takes long: one delete after the other could not keep up.
func TestDeletesAtOnce(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.DeletesPerSecond, w.options.DeletesAtOnce = 100, 8
		for i := range 1000 {
			w.add(fmt.Sprint(i), 48*time.Hour, nil)
		}
		var under, most atomic.Int32
		w.onDelete = func(context.Context, object) error {
			if n := under.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(50 * time.Millisecond)
			under.Add(-1)
			return nil
		}
		got := w.run(30 * time.Second)
		if len(got) != 1000 || got[999].At > 11*time.Second || most.Load() > 8 {
			t.Errorf("%d deletes, %d at once, the last after %v; want 1000, at most 8 and 11 s",
				len(got), most.Load(), got[len(got)-1].At)
		}
	})
}

func TestOverdue(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.DeletesPerSecond = 1
		for i := range 90 {
			w.add(fmt.Sprint(i), 24*time.Hour+time.Duration(100-i)*time.Minute, nil)
		}
		overdueSeconds.Set(-1)
		var got []time.Duration // as each sweep finds it
		w.onList = func(_ string, phase v1alpha1.Phase, token string) error {
			if phase == v1alpha1.PhaseDelivered && token == "" {
				seconds := testutil.ToFloat64(overdueSeconds)
				got = append(got, time.Duration(seconds*float64(time.Second)).Round(time.Minute))
			}
			if time.Since(w.start) > 4*time.Minute-time.Second {
				return errors.New("away")
			}
			return nil
		}
		w.run(6*time.Minute + time.Second)
		// The first 60 are gone by the second sweep, and all by the third; those that fail tell nothing.
		want := []time.Duration{0, 100 * time.Minute, 40 * time.Minute, 0, 0, 0, 0}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("overdue (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.DeletesPerSecond = 1
		for i := range 200 {
			w.add(fmt.Sprint(i), 48*time.Hour+time.Duration(i)*time.Second, nil)
		}
		found, err := newSweeper(w, w, w.options, logr.Discard()).sweep(t.Context())
		if err != nil || len(found) != 61 || found[0].Name != "199" || found[60].Name != "139" {
			t.Errorf("got %d objects and error %v, want the 61 that may be deleted before the next sweep", len(found), err)
		}
		w.objects = w.objects[:0]
		w.add("next", 0, new(time.Minute))
		w.add("later", 0, new(time.Minute+time.Second))
		found, err = newSweeper(w, w, w.options, logr.Discard()).sweep(t.Context())
		if err != nil || len(found) != 1 || found[0].Name != "next" {
			t.Errorf("got %v and error %v, want only what is due before the next sweep", found, err)
		}
		w.options.DeletesPerSecond = math.Inf(1)
		if got := newSweeper(w, w, w.options, logr.Discard()).capacity(); got != maxRemembered {
			t.Errorf("without a limit %d may be remembered, want %d", got, maxRemembered)
		}
	})
}

func TestChangedObjectSurvives(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.add("changed", 48*time.Hour, nil)
		w.add("gone", 48*time.Hour, nil)
		w.onDelete = func(_ context.Context, o object) error {
			if o.Name == "gone" {
				return apierrors.NewNotFound(groupResource, o.Name)
			}
			if o.resourceVersion == "1" { // between list and delete, somebody prolongs its life
				w.objects[0].resourceVersion = "2"
				w.objects[0].ttl = new(48*time.Hour + 100*time.Second)
			}
			return nil
		}
		w.check([]deletion{{"changed", 100 * time.Second}}, w.run(2*time.Minute))
		if len(w.logged) != 0 {
			t.Errorf("logged %q", w.logged)
		}
	})
}

func TestErrorsAreLoggedOnceAndRetried(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		for i := range 5 {
			w.add(fmt.Sprint(i), 48*time.Hour-time.Duration(i), nil)
		}
		w.onDelete = func(_ context.Context, o object) error {
			if time.Since(w.start) < time.Minute && o.Name != "3" {
				return apierrors.NewInternalError(errors.New("etcd is away"))
			}
			return nil
		}
		failed := testutil.ToFloat64(errorsTotal.WithLabelValues(operationDelete))
		w.check([]deletion{{"3", 0}, {"0", time.Minute}, {"1", time.Minute}, {"2", time.Minute}, {"4", time.Minute}},
			w.run(90*time.Second))
		if got := testutil.ToFloat64(errorsTotal.WithLabelValues(operationDelete)) - failed; got != 4 {
			t.Errorf("%v failed deletes were counted, want 4", got)
		}
		if len(w.logged) != 1 || !strings.Contains(w.logged[0], `"count"=4`) || !strings.Contains(w.logged[0], `"name"="0"`) {
			t.Errorf("logged %q, want one line", w.logged)
		}
	})
}

func TestListErrors(t *testing.T) {
	old := errors.New("too old")
	expired := apierrors.NewResourceExpired("the provided continue parameter is too old")
	expired.ErrStatus.ListMeta = metav1.ListMeta{Continue: "again-2"}
	for name, test := range map[string]struct {
		// onList answers the calls of the first sweep.
		onList func(namespace string, phase v1alpha1.Phase, token string) error
		want   []deletion
		logged int
	}{
		"an expired list goes on": {
			func(_ string, _ v1alpha1.Phase, token string) error {
				if token == "2" {
					return expired
				}
				return nil
			},
			[]deletion{{"0", 0}, {"1", 0}, {"2", 0}, {"3", 0}, {"undeliverable", 0}}, 0,
		},
		"one that expires at once again is given up until the next sweep": {
			func(_ string, _ v1alpha1.Phase, token string) error {
				if token == "2" || token == "again-2" {
					return expired
				}
				return nil
			},
			[]deletion{{"0", 0}, {"1", 0}, {"undeliverable", 0}, {"2", time.Minute}, {"3", time.Minute}}, 1,
		},
		"one without a token, too": {
			func(_ string, _ v1alpha1.Phase, token string) error {
				if token == "2" {
					return apierrors.NewResourceExpired("too old")
				}
				return nil
			},
			[]deletion{{"0", 0}, {"1", 0}, {"undeliverable", 0}, {"2", time.Minute}, {"3", time.Minute}}, 1,
		},
		"one phase that fails does not hold up the other": {
			func(_ string, phase v1alpha1.Phase, _ string) error {
				if phase == v1alpha1.PhaseDelivered {
					return old
				}
				return nil
			},
			[]deletion{{"undeliverable", 0}, {"0", time.Minute}, {"1", time.Minute}, {"2", time.Minute}, {"3", time.Minute}}, 1,
		},
		"an old CRD is told once": {
			func(string, v1alpha1.Phase, string) error { return fmt.Errorf("wrapped: %w", errColumns) },
			[]deletion{{"0", time.Minute}, {"1", time.Minute}, {"2", time.Minute}, {"3", time.Minute}, {"undeliverable", time.Minute}},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(w *world) {
				w.options.Undeliverable = new(time.Hour)
				for i := range 4 {
					w.add(fmt.Sprint(i), 48*time.Hour-time.Duration(i), nil)
				}
				w.add("undeliverable", 2*time.Hour, nil)
				calls := 0
				w.onList = func(namespace string, phase v1alpha1.Phase, token string) error {
					if time.Since(w.start) >= time.Minute {
						return nil
					}
					calls++
					return test.onList(namespace, phase, token)
				}
				failed := testutil.ToFloat64(errorsTotal.WithLabelValues(operationList))
				w.check(test.want, w.run(90*time.Second))
				if got := testutil.ToFloat64(errorsTotal.WithLabelValues(operationList)) - failed; got != float64(test.logged) {
					t.Errorf("%v failed lists were counted, want %d", got, test.logged)
				}
				if len(w.logged) != test.logged {
					t.Errorf("logged %q, want %d lines", w.logged, test.logged)
				}
				if strings.Contains(name, "CRD") && (calls != 1 || strings.Count(w.logged[0], "apply") != 1) {
					t.Errorf("%d calls, logged %q, want one call and one error", calls, w.logged)
				}
			})
		})
	}
}

func TestOneNamespaceDoesNotHoldUpAnother(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.Namespaces = []string{"forbidden", "tasks"}
		w.add("a", 48*time.Hour, nil)
		w.onList = func(namespace string, _ v1alpha1.Phase, _ string) error {
			if namespace == "forbidden" {
				return apierrors.NewForbidden(groupResource, "", errors.New("no"))
			}
			return nil
		}
		w.check([]deletion{{"a", 0}}, w.run(time.Second))
	})
}

// A list that takes longer than the interval must not leave no time for deleting.
func TestSlowListLeavesTimeToDelete(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.add("a", 48*time.Hour, nil)
		w.add("due during the list", 0, new(50*time.Second))
		w.onList = func(string, v1alpha1.Phase, string) error {
			time.Sleep(2 * time.Minute)
			return nil
		}
		w.check([]deletion{{"a", 4 * time.Minute}, {"due during the list", 4 * time.Minute}}, w.run(270*time.Second))
	})
}

func TestStopsInTheMiddle(t *testing.T) {
	inVirtualTime(t, func(w *world) {
		w.options.DeletesPerSecond = 1
		for i := range 100 {
			w.add(fmt.Sprint(i), 48*time.Hour, nil)
		}
		w.onDelete = func(ctx context.Context, _ object) error {
			if time.Since(w.start) < 10*time.Second {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		if got := w.run(10*time.Second + time.Millisecond); len(got) != 10 {
			t.Errorf("%d deletes before the end, want 10", len(got))
		}
		if len(w.logged) != 0 {
			t.Errorf("logged %q", w.logged)
		}
	})
}

func TestOptionsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"interval":      func(o *Options) { o.Interval = 0 },
		"page size":     func(o *Options) { o.PageSize = 0 },
		"rate":          func(o *Options) { o.DeletesPerSecond = 0 },
		"at once":       func(o *Options) { o.DeletesAtOnce = 0 },
		"no number":     func(o *Options) { o.DeletesPerSecond = math.NaN() },
		"delivered":     func(o *Options) { o.Delivered = new(-time.Second) },
		"undeliverable": func(o *Options) { o.Undeliverable = new(-time.Second) },
	} {
		options := DefaultOptions()
		change(&options)
		if _, err := New(nil, options); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	if !(&Sweeper{}).NeedLeaderElection() {
		t.Error("every replica would sweep")
	}
}
