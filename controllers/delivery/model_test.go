// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// history is what happens to the operator and its surroundings in one run of the model. Everything in it is drawn
// before the run, so that a failing one can be made smaller and run again.
type history struct {
	Objects []object
	Faults  []fault
	Lag     time.Duration
}

// object is a delivery and what its receiver does.
type object struct {
	CreatedAt time.Duration
	// Answers are the status codes of the first requests; later ones are answered 500. 0 stands for no answer in time.
	Answers []int
	// SuspendedFor holds the object back for a while from its creation on.
	SuspendedFor time.Duration
}

// fault is something that goes wrong for a while.
type fault struct {
	Kind     string
	At, Last time.Duration
}

const (
	writesFail  = "writes fail"
	answersLost = "writes go through but their answers are lost"
	restart     = "the operator is restarted"
	crash       = "the operator is killed"
)

func drawHistory(t *rapid.T) history {
	second := func(most int, label string) time.Duration {
		return time.Duration(rapid.IntRange(0, most*4).Draw(t, label)) * time.Second / 4
	}
	h := history{Lag: rapid.SampledFrom([]time.Duration{0, 0, 50 * time.Millisecond, 3 * time.Second, 15 * time.Second}).Draw(t, "lag")}
	for range rapid.IntRange(1, 4).Draw(t, "objects") {
		o := object{CreatedAt: second(20, "created")}
		for range rapid.IntRange(0, 4).Draw(t, "answers") {
			o.Answers = append(o.Answers, rapid.SampledFrom([]int{200, 204, 307, 404, 503, 0}).Draw(t, "answer"))
		}
		if rapid.IntRange(0, 3).Draw(t, "suspend") == 0 {
			o.SuspendedFor = second(60, "suspended")
		}
		h.Objects = append(h.Objects, o)
	}
	for range rapid.IntRange(0, 4).Draw(t, "faults") {
		h.Faults = append(h.Faults, fault{
			Kind: rapid.SampledFrom([]string{writesFail, answersLost, restart, crash}).Draw(t, "kind"),
			At:   second(150, "at"), Last: second(40, "last"),
		})
	}
	slices.SortFunc(h.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return h
}

// TestModel runs random histories against the promises. A failure prints the history, made as small as it can be, and
// the flag that repeats it; -rapid.checks sets how many are run.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		for _, broken := range h.run(t) {
			rt.Error(broken)
		}
	})
}

// run lets the history happen and returns which promises were broken.
func (h history) run(t *testing.T) (broken []string) {
	receiver := &scripted{histories: h.Objects, seen: map[string]int{}}
	inVirtualTime(t, receiver.answer, func(s *stack) {
		s.watchLag = h.Lag
		s.patch = h.faultyWrites(s)
		s.run()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.restarts(s)
		}()
		h.create(s)
		<-done
		time.Sleep(time.Hour)
		for i := range h.Objects {
			broken = append(broken, h.check(s, i)...)
		}
		if unwritten, inFlight := s.running.reconciler.ledger.load(); unwritten+inFlight+s.running.reconciler.ledger.size() != 0 {
			broken = append(broken, "the ledger has not been emptied")
		}
	})
	return broken
}

func (h history) create(s *stack) {
	for i, o := range h.Objects {
		time.AfterFunc(o.CreatedAt-s.elapsed(), func() {
			b := makeDelivery(fmt.Sprint(i))
			if o.SuspendedFor > 0 {
				b.suspended()
				time.AfterFunc(o.SuspendedFor, func() {
					s.update(fmt.Sprint(i), func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = false })
				})
			}
			s.create(b.obj())
		})
	}
}

// faultyWrites applies the faults that are in force to each status write.
func (h history) faultyWrites(s *stack) func(func() error) error {
	return func(write func() error) error {
		at := s.elapsed()
		for _, f := range h.Faults {
			if at < f.At || at >= f.At+f.Last {
				continue
			}
			switch f.Kind {
			case writesFail:
				return errAway
			case answersLost:
				if err := write(); err != nil {
					return err
				}
				return errors.New("answer lost")
			}
		}
		return write()
	}
}

func (h history) restarts(s *stack) {
	for _, f := range h.Faults {
		if f.Kind != restart && f.Kind != crash {
			continue
		}
		time.Sleep(f.At - s.elapsed())
		if f.Kind == crash {
			s.kill()
		} else {
			s.stop()
		}
		time.Sleep(f.Last)
		s.run()
	}
}

// has reports whether the history has a fault of that kind.
func (h history) has(kind string) bool {
	return slices.ContainsFunc(h.Faults, func(f fault) bool { return f.Kind == kind })
}

// check holds object i against the promises.
func (h history) check(s *stack, i int) (broken []string) {
	fail := func(format string, args ...any) {
		broken = append(broken, fmt.Sprintf("object %d: ", i)+fmt.Sprintf(format, args...))
	}
	d := s.get(fmt.Sprint(i))
	var at []time.Duration
	for _, p := range s.seen() {
		if p.id == string(d.UID) {
			at = append(at, p.at)
		}
	}
	if !d.IsFinished() {
		fail("lost: %+v", d.Status)
	}
	accepted := h.acceptedBy(i)
	delivered := accepted > 0 && accepted <= len(at)
	// A shutdown that cannot write within its time loses outcomes as a crash does. The attempt is then made again, and a
	// receiver that has accepted it may refuse it now.
	mayRepeat := h.has(crash) || (h.has(restart) && (h.has(writesFail) || h.has(answersLost)))
	if delivered != d.IsDelivered() && !(mayRepeat && delivered) {
		fail("phase %s, but the receiver accepted request %d of %d", d.Status.Phase, accepted, len(at))
	}
	if mayRepeat {
		return broken
	}
	if len(at) != len(d.Status.Attempts) {
		fail("%d requests, %d attempts recorded", len(at), len(d.Status.Attempts))
	}
	for n := 1; n < len(at); n++ {
		gap := DefaultPolicy().Schedule[n-1]
		if h.Objects[i].answer(n) == 0 {
			gap += 10 * time.Second // counted from the end of the attempt
		}
		if at[n]-at[n-1] < gap {
			fail("request %d came %s after the one before, want at least %s", n+1, at[n]-at[n-1], gap)
		}
	}
	return broken
}

// acceptedBy is the number of the first request that is answered 2xx; 0 if none is.
func (h history) acceptedBy(i int) int {
	return 1 + slices.IndexFunc(h.Objects[i].Answers, func(code int) bool { return code/100 == 2 })
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
	if code := r.histories[i].answer(n); code != 0 {
		w.WriteHeader(code)
		return
	}
	select {
	case <-req.Context().Done():
	case <-time.After(time.Minute):
	}
}
