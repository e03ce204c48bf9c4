// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// history is what happens to the operator and its surroundings in one run of the model. Everything in it is drawn
// before the run, so that a failing one can be made smaller and run again.
type history struct {
	Objects []object
	Faults  []fault
	// Lag is how late the watches are; that of unfinished objects is later than that of labelled ones by Later.
	Lag, Later time.Duration
	// Slots are how many requests may be in flight, to one endpoint, too; Unwritten is --max-unwritten.
	Slots, Unwritten int
	// Namespaces is whether the operator watches listed namespaces.
	Namespaces bool
	// SecretReads is how long it takes to read a Secret, which is there except for SecretAway from SecretGone on.
	SecretReads            time.Duration
	SecretGone, SecretAway time.Duration
}

// object is a delivery and what its receiver and its users do. Times that are zero stand for what does not happen.
type object struct {
	CreatedAt time.Duration
	// Answers are the status codes of the first requests; later ones are answered 500. 0 stands for no answer in time.
	Answers []int
	// SlowBy is how long each answer takes.
	SlowBy time.Duration
	// SuspendedAt and SuspendedFor hold the object back for a while, from its creation on if SuspendedAt is before that.
	SuspendedAt, SuspendedFor time.Duration
	// Deadline is spec.deliverBefore, in whole seconds.
	Deadline time.Duration
	Secret   bool
	Large    bool
	// LabelledAt are when someone asks for it to be delivered again, or now; TouchedAt when its other labels change.
	LabelledAt, TouchedAt []time.Duration
	// DeletedAt is when it is deleted; Again is whether another of its name is created at once.
	DeletedAt time.Duration
	Again     bool
}

// fault is something that goes wrong for a while.
type fault struct {
	Kind     string
	At, Last time.Duration
}

const (
	writesFail  = "writes fail"
	answersLost = "writes go through but their answers are lost"
	unanswered  = "writes are not answered"
	conflicts   = "writes conflict, although nothing has changed"
	refused     = "a policy forbids writes"
	leaseGone   = "the lease runs out"
	watchesCut  = "watches are cut"
	restart     = "the operator is restarted"
	crash       = "the operator is killed"
)

var faultKinds = []string{
	writesFail, answersLost, unanswered, conflicts, refused, leaseGone, watchesCut, restart, crash,
}

// seconds draws a time of at most so many.
func drawSeconds(t *rapid.T, most int, label string) time.Duration {
	return time.Duration(rapid.IntRange(0, most*4).Draw(t, label)) * time.Second / 4
}

// oneIn draws true once in n times, and seldom where it makes a failing history smaller.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }

func drawHistory(t *rapid.T) history {
	lags := []time.Duration{0, 0, 50 * time.Millisecond, 3 * time.Second, 15 * time.Second}
	h := history{
		Lag:         rapid.SampledFrom(lags).Draw(t, "lag"),
		Later:       rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 5 * time.Second}).Draw(t, "later"),
		Slots:       rapid.SampledFrom([]int{8, 1, 2}).Draw(t, "slots"),
		Unwritten:   rapid.SampledFrom([]int{1024, 1, 2}).Draw(t, "unwritten"),
		Namespaces:  oneIn(t, 4, "namespaces"),
		SecretReads: rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Second, 8 * time.Second}).Draw(t, "secret reads"),
	}
	for range rapid.IntRange(1, 4).Draw(t, "objects") {
		h.Objects = append(h.Objects, drawObject(t))
	}
	if slices.ContainsFunc(h.Objects, func(o object) bool { return o.Secret }) && oneIn(t, 2, "secret away") {
		h.SecretGone, h.SecretAway = drawSeconds(t, 150, "gone"), drawSeconds(t, 60, "away")
	}
	for range rapid.IntRange(0, 4).Draw(t, "faults") {
		h.Faults = append(h.Faults, fault{
			Kind: rapid.SampledFrom(faultKinds).Draw(t, "kind"),
			At:   drawSeconds(t, 150, "at"), Last: drawSeconds(t, 40, "last"),
		})
	}
	slices.SortFunc(h.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return h
}

func drawObject(t *rapid.T) object {
	o := object{CreatedAt: drawSeconds(t, 20, "created")}
	for range rapid.IntRange(0, 4).Draw(t, "answers") {
		o.Answers = append(o.Answers, rapid.SampledFrom([]int{200, 204, 307, 404, 503, 0}).Draw(t, "answer"))
	}
	if oneIn(t, 4, "slow") {
		o.SlowBy = drawSeconds(t, 9, "slow by")
	}
	if oneIn(t, 4, "suspend") {
		o.SuspendedAt, o.SuspendedFor = drawSeconds(t, 60, "suspended"), drawSeconds(t, 60, "suspended for")
	}
	if oneIn(t, 6, "deadline") {
		o.Deadline = drawSeconds(t, 150, "deadline").Truncate(time.Second)
	}
	o.Secret, o.Large = oneIn(t, 4, "secret"), oneIn(t, 6, "large")
	if oneIn(t, 4, "label") {
		for range rapid.IntRange(1, 3).Draw(t, "labels") {
			o.LabelledAt = append(o.LabelledAt, drawSeconds(t, 200, "labelled"))
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "touches") {
		o.TouchedAt = append(o.TouchedAt, drawSeconds(t, 150, "touched"))
	}
	if oneIn(t, 8, "delete") {
		o.DeletedAt, o.Again = o.CreatedAt+drawSeconds(t, 60, "deleted after"), oneIn(t, 2, "again")
	}
	return o
}

// TestModel runs random histories against the promises. A failure prints the history, made as small as it can be, and
// the flag that repeats it; -rapid.checks sets how many are run on each processor that serves.
func TestModel(t *testing.T) {
	for range virtualtime.Processors() {
		t.Run("processor", func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				h := drawHistory(rt)
				for _, broken := range h.run(t) {
					rt.Error(broken)
				}
			})
		})
	}
}

// run lets the history happen and returns which promises were broken.
func (h history) run(t *testing.T) (broken []string) {
	receiver := &scripted{histories: h.Objects, seen: map[string]int{}}
	inVirtualTime(t, receiver.answer, func(s *stack) {
		s.watchLag, s.mainLag, s.secretReads = h.Lag, h.Later, h.SecretReads
		s.options.Limits = lanes.Limits{Total: h.Slots, PerEndpoint: h.Slots, PerNamespace: h.Slots}
		s.options.MaxUnwritten = h.Unwritten
		if h.Namespaces {
			s.namespaces = map[string]cache.Config{"tasks": {}}
		}
		s.unanswered = func() bool { return h.during(unanswered, s.elapsed()) }
		s.maySend = func() bool { return !h.during(leaseGone, s.elapsed()) }
		j := s.keepJournal()
		s.patch = func(write func() error) error {
			j.call(s)
			return h.faultyWrite(s.elapsed(), write)
		}
		s.unlabel = func(write func() error) error { return h.faultyWrite(s.elapsed(), write) }
		s.run()
		var working sync.WaitGroup
		working.Go(func() { h.interrupt(s) })
		working.Go(func() { h.turnSecrets(s) })
		for i := range h.Objects {
			working.Go(func() { h.live(s, i) })
		}
		working.Wait()
		time.Sleep(time.Hour)
		broken = j.check(h, s)
	})
	return broken
}

// during reports whether a fault of that kind is in force.
func (h history) during(kind string, at time.Duration) bool {
	return slices.ContainsFunc(h.Faults, func(f fault) bool { return f.Kind == kind && at >= f.At && at < f.At+f.Last })
}

// has reports whether the history has a fault of one of the kinds.
func (h history) has(kinds ...string) bool {
	return slices.ContainsFunc(h.Faults, func(f fault) bool { return slices.Contains(kinds, f.Kind) })
}

// faultyWrite applies the faults that are in force to a status write.
func (h history) faultyWrite(at time.Duration, write func() error) error {
	switch {
	case h.during(writesFail, at):
		return errAway
	case h.during(conflicts, at):
		return apierrors.NewConflict(deliveries, "a", errors.New("by a webhook"))
	case h.during(refused, at):
		return apierrors.NewForbidden(deliveries, "a", errors.New("denied by policy"))
	case h.during(answersLost, at):
		return errors.Join(write(), errors.New("answer lost"))
	}
	return write()
}

// interrupt restarts and kills the operator, and cuts its watches.
func (h history) interrupt(s *stack) {
	for _, f := range h.Faults {
		switch f.Kind {
		case watchesCut:
			s.wait(f.At)
			s.cutWatches()
		case crash, restart:
			s.wait(f.At)
			if f.Kind == crash {
				s.kill()
			} else {
				s.stop()
			}
			time.Sleep(f.Last)
			s.run()
		}
	}
}

func (h history) turnSecrets(s *stack) {
	there := map[string]string{"webhook-secret": "x"}
	s.create(makeSecret(there))
	if h.SecretAway > 0 {
		s.wait(h.SecretGone)
		if err := s.client.Delete(context.Background(), makeSecret(there)); err != nil {
			s.t.Error(err)
		}
		s.wait(h.SecretGone + h.SecretAway)
		s.create(makeSecret(there))
	}
}

// live creates object i, and does to it what users do.
func (h history) live(s *stack, i int) {
	o, name := h.Objects[i], fmt.Sprint(i)
	type event struct {
		at time.Duration
		do func()
	}
	change := func(how func(*v1alpha1.WebhookDelivery)) func() { return func() { s.change(name, how) } }
	label := func(key, value string) func() {
		return change(func(d *v1alpha1.WebhookDelivery) { metav1.SetMetaDataLabel(&d.ObjectMeta, key, value) })
	}
	suspend := func(on bool) func() {
		return change(func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = on; d.Generation++ })
	}
	events := []event{{o.CreatedAt, func() { s.create(h.object(s, i)) }}}
	if o.SuspendedFor > 0 {
		events = append(events, event{max(o.SuspendedAt, o.CreatedAt), suspend(true)},
			event{max(o.SuspendedAt, o.CreatedAt) + o.SuspendedFor, suspend(false)})
	}
	for _, at := range o.LabelledAt {
		events = append(events, event{max(at, o.CreatedAt), label(v1alpha1.LabelRedeliver, "true")})
	}
	for n, at := range o.TouchedAt {
		events = append(events, event{max(at, o.CreatedAt), label("touched", fmt.Sprint(n))})
	}
	if o.DeletedAt > 0 {
		events = append(events, event{o.DeletedAt, func() {
			s.delete(name)
			if o.Again {
				d := h.object(s, i)
				d.UID += "-again"
				s.create(d)
			}
		}})
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range events {
		s.wait(e.at)
		e.do()
	}
}

// object is the i-th as it is created.
func (h history) object(s *stack, i int) *v1alpha1.WebhookDelivery {
	o, b := h.Objects[i], makeDelivery(fmt.Sprint(i))
	if from := max(o.SuspendedAt, o.CreatedAt); s.elapsed() >= from && s.elapsed() < from+o.SuspendedFor {
		b.suspended()
	}
	if o.Deadline > 0 {
		b.before(s.startedAt().Add(o.Deadline))
	}
	if o.Secret {
		b.secret()
	}
	if o.Large {
		b.d.Spec.Payload, _ = payload.New(map[string]string{"x": strings.Repeat("x", maxCachedPayload)})
	}
	return b.obj()
}

// change lets a user change an object, unless it is gone.
func (s *stack) change(name string, how func(*v1alpha1.WebhookDelivery)) {
	for {
		d := &v1alpha1.WebhookDelivery{}
		err := s.client.Get(context.Background(), types.NamespacedName{Namespace: "tasks", Name: name}, d)
		if err == nil {
			how(d)
			err = s.client.Update(context.Background(), d)
		}
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if !apierrors.IsConflict(err) {
			s.t.Error(err)
			return
		}
	}
}

// answer is the status code of request n, which counts from 1.
func (o object) answer(n int) int {
	if n <= len(o.Answers) {
		return o.Answers[n-1]
	}
	return http.StatusInternalServerError
}

// scripted is a receiver that answers as the history says.
type scripted struct {
	histories []object
	mu        sync.Mutex
	seen      map[string]int
}

func (r *scripted) answer(_ int, w http.ResponseWriter, req *http.Request) {
	id := req.Header.Get("webhook-id")
	r.mu.Lock()
	r.seen[id]++
	n := r.seen[id]
	r.mu.Unlock()
	var i int
	if _, err := fmt.Sscanf(id, "uid-%d", &i); err != nil {
		panic(err)
	}
	code, takes := r.histories[i].answer(n), r.histories[i].SlowBy
	if code == 0 {
		takes = time.Minute
	}
	select {
	case <-req.Context().Done():
	case <-time.After(takes):
		if code != 0 {
			w.WriteHeader(code)
		}
	}
}
