// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// journal is each version of each object that was stored in a history, and how hard the operator worked.
type journal struct {
	mu       sync.Mutex
	order    []types.UID
	versions map[types.UID][]version
	calls    int // status writes that were tried
	most     int // outcomes that were unwritten at once
}

// version is an object as it was stored at a time.
type version struct {
	*v1alpha1.WebhookDelivery

	at      time.Duration
	deleted bool
}

// keepJournal watches until the test is over.
func (s *stack) keepJournal() *journal {
	j := &journal{versions: map[types.UID][]version{}}
	w, err := s.client.Watch(context.Background(), &v1alpha1.WebhookDeliveryList{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.atEnd(w.Stop)
	go func() {
		for e := range w.ResultChan() {
			if d, ok := e.Object.(*v1alpha1.WebhookDelivery); ok {
				j.add(version{d.DeepCopy(), s.elapsed(), e.Type == watch.Deleted})
			}
		}
	}()
	return j
}

func (j *journal) add(v version) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.versions[v.UID] == nil {
		j.order = append(j.order, v.UID)
	}
	j.versions[v.UID] = append(j.versions[v.UID], v)
}

// call counts a status write.
func (j *journal) call(s *stack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls++
	unwritten, _ := s.latest.Load().load()
	j.most = max(j.most, unwritten)
}

// check holds what happened against the promises.
func (j *journal) check(h history, s *stack) (broken []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	surplus := 0
	for _, uid := range j.order {
		t := &trial{h: h, uid: uid, versions: j.versions[uid]}
		var i int
		_, _ = fmt.Sscanf(string(uid), "uid-%d", &i)
		t.object = h.Objects[i]
		for _, p := range s.seen() {
			if p.id == string(uid) {
				t.posts = append(t.posts, p.at)
			}
		}
		t.judge()
		surplus += t.surplus
		broken = append(broken, t.broken...)
	}
	r := s.running.reconciler
	unwritten, inFlight := r.ledger.load()
	if left := r.ledger.size(); unwritten+inFlight+left != 0 {
		broken = append(broken, fmt.Sprintf("the ledger has not been emptied: %d entries", left))
	}
	if left := r.lanes.Snapshot(); left.Parked+left.InFlight != 0 {
		broken = append(broken, fmt.Sprintf("the lanes have not been emptied: %+v", left))
	}
	if j.most > h.Unwritten+h.Slots {
		broken = append(broken, fmt.Sprintf("%d outcomes unwritten at once, of at most %d and %d in flight",
			j.most, h.Unwritten, h.Slots))
	}
	if most := 200 * len(j.order); j.calls > most {
		broken = append(broken, fmt.Sprintf("%d status writes were tried, want at most %d", j.calls, most))
	}
	if surplus > s.lost && !h.has(refused) {
		broken = append(broken, fmt.Sprintf("%d requests are not recorded, but only %d were at risk", surplus, s.lost))
	}
	return broken
}

// trial is one object before the promises.
type trial struct {
	h        history
	object   object
	uid      types.UID
	versions []version
	posts    []time.Duration
	surplus  int // requests beyond the recorded attempts
	broken   []string
}

func (t *trial) fail(format string, args ...any) {
	t.broken = append(t.broken, string(t.uid)+": "+fmt.Sprintf(format, args...))
}

// mayRepeat is whether a process can have lost what it knew. A shutdown that cannot write in time does, as a crash does,
// and with a status that is refused each end of a process.
func (t *trial) mayRepeat() bool {
	return t.h.has(crash) || t.h.has(restart) && t.h.has(writesFail, answersLost, unanswered, conflicts, refused)
}

func (t *trial) judge() {
	var attempts []v1alpha1.Attempt
	for n, v := range t.versions {
		t.consistent(v)
		last := n == len(t.versions)-1
		if last || t.versions[n+1].Status.Redeliveries != v.Status.Redeliveries {
			t.round(v.Status.Attempts)
			attempts = append(attempts, v.Status.Attempts...)
		}
		if !last {
			t.successor(v, t.versions[n+1])
		}
	}
	last := t.versions[len(t.versions)-1]
	if !last.deleted && (!last.IsFinished() || isLabelled(last.WebhookDelivery)) {
		t.fail("lost: labels %v, status %+v", last.Labels, last.Status)
	}
	t.requests(attempts, last.deleted)
	t.forbidden()
}

// consistent holds one version against what it must be in itself.
func (t *trial) consistent(v version) {
	delivered := meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.ConditionDelivered)
	undeliverable := meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.ConditionUndeliverable)
	n := len(v.Status.Attempts)
	accepted := n > 0 && v.Status.Attempts[n-1].StatusCode/100 == 2
	switch {
	case delivered != v.IsDelivered() || undeliverable != v.IsUndeliverable():
		t.fail("phase and conditions disagree: %+v", v.Status)
	case v.IsFinished() != (v.Status.CompletionTime != nil):
		t.fail("phase %s, completion %v", v.Status.Phase, v.Status.CompletionTime)
	case accepted != v.IsDelivered():
		t.fail("phase %s after %+v", v.Status.Phase, v.Status.Attempts)
	case n > DefaultPolicy().attempts():
		t.fail("%d attempts", n)
	}
}

// successor holds a version against the one before it.
func (t *trial) successor(v, next version) {
	switch rounds := next.Status.Redeliveries - v.Status.Redeliveries; {
	case rounds == 1 && v.IsFinished() && isLabelled(v.WebhookDelivery) && len(next.Status.Attempts) == 0:
	case rounds == 1 && t.h.has(refused): // the end that was not stored is not seen
	case rounds != 0:
		t.fail("round %d after %d: %+v", next.Status.Redeliveries, v.Status.Redeliveries, v.Status)
	case v.IsFinished() && !next.IsFinished():
		t.fail("ended, and then again not: %+v", next.Status)
	case len(next.Status.Attempts) < len(v.Status.Attempts):
		t.fail("attempts were forgotten: %+v", next.Status)
	}
}

// round holds the attempts of one round against the schedule.
func (t *trial) round(attempts []v1alpha1.Attempt) {
	for n := range attempts {
		if attempts[n].Number != int32(n+1) {
			t.fail("attempt %d has number %d", n+1, attempts[n].Number)
		}
		if n == 0 || len(t.object.LabelledAt) > 0 { // which may mean "try now"
			continue
		}
		end := attempt{Attempt: attempts[n-1]}.end()
		if gap := attempts[n].StartTime.Sub(end); gap < DefaultPolicy().Schedule[n-1] {
			t.fail("attempt %d began %s after the end of the one before", n+1, gap)
		}
	}
}

// requests holds what the receiver saw against what is recorded.
func (t *trial) requests(attempts []v1alpha1.Attempt, deleted bool) {
	t.surplus = len(t.posts) - len(attempts)
	allowed := 0
	if deleted {
		allowed = 1 // the one that was in flight
		if t.h.has(refused) {
			allowed = len(t.posts)
		}
	}
	switch {
	case t.surplus < 0:
		t.fail("%d requests, but %d attempts recorded", len(t.posts), len(attempts))
	case t.surplus > allowed && !t.mayRepeat():
		t.fail("%d requests, at %v, but %d attempts recorded", len(t.posts), t.posts, len(attempts))
	}
	t.surplus = max(0, t.surplus-allowed)
}

// forbidden looks for requests at times when there must be none. What the operator cannot know yet is no offence.
func (t *trial) forbidden() {
	const slack = 2 * time.Second // a cut watch takes a while to come back
	blind := t.h.Lag + t.h.Later + slack
	for _, at := range t.posts {
		if t.h.during(leaseGone, at) {
			t.fail("request at %s without the lease", at)
		}
		if end := t.object.Deadline; end > 0 && at > end+time.Second {
			t.fail("request at %s, with a deadline of %s", at, end)
		}
		if t.suspendedSince(at) > blind+t.h.SecretReads {
			t.fail("request at %s while it was suspended", at)
		}
		if last := t.versions[len(t.versions)-1]; last.deleted && at > last.at+blind+t.h.SecretReads {
			t.fail("request at %s after it was deleted at %s", at, last.at)
		}
	}
}

// suspendedSince is for how long the object had been suspended at a time; negative if it was not.
func (t *trial) suspendedSince(at time.Duration) time.Duration {
	since := time.Duration(-1)
	for _, v := range t.versions {
		if v.at > at {
			break
		}
		if !v.Spec.Suspend {
			since = -1
		} else if since < 0 {
			since = v.at
		}
	}
	if since < 0 {
		return since
	}
	return at - since
}
