// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// ledger is what this process has done and the cache may not show yet. Optimistic locking alone cannot prevent a
// duplicate: the conflict would come after the POST. Its size follows the deliveries that are pending.
type ledger struct {
	mu        sync.Mutex
	start     time.Time // of this process, on its monotonic clock
	entries   map[types.NamespacedName]*entry
	unwritten int
	inFlight  int
	// forbidden is how many outcomes of a namespace the operator has been forbidden to write.
	forbidden map[string]int
}

type entry struct {
	uid types.UID
	// resourceVersion is the newest that is known: of the own last write, of a live read, or of a cached object that was
	// acted on. A cached object that is older is not acted on.
	resourceVersion string
	// due is when the attempt may be made that status.nextAttemptTime dueFor tells of, on this process's monotonic clock;
	// dueFor is in Unix microseconds.
	due    time.Time
	dueFor int64
	// waitFor is when the wait for a Secret began, in Unix seconds as status has it, and waitBegan when that was on this
	// process's clock, counted from the ledger's start.
	waitFor   int64
	waitBegan time.Duration
	// outcome has been reached, but its write is not acknowledged yet.
	outcome *outcome
	// unstored is the status that the API server refuses to store for good: what is known beyond the cache.
	unstored *v1alpha1.WebhookDeliveryStatus
	// sending is set from before a request until what came of it is settled.
	sending bool
	// warned is whether an event has told of the wait for a Secret.
	warned bool
	// gone is whether the API server was found not to have the object any more. It never comes back under that UID, so
	// no version that the cache still comes to is acted on, one that others made before its deletion neither.
	gone bool
}

// outcome is an attempt that has been made and must be recorded: the request is never made again for want of a write.
type outcome struct {
	delivery *v1alpha1.WebhookDelivery
	attempt  attempt
	status   v1alpha1.WebhookDeliveryStatus
	// forbidden is whether the last write was: the operator lacks the right.
	forbidden bool
}

func newLedger() *ledger {
	return &ledger{
		start: time.Now(), entries: map[types.NamespacedName]*entry{}, forbidden: map[string]int{},
	}
}

// held is the outcome of key that is still to be written; nil if there is none.
func (l *ledger) held(key types.NamespacedName) *outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[key]; e != nil {
		return e.outcome
	}
	return nil
}

// hold keeps out until it is released.
func (l *ledger) hold(key types.NamespacedName, out *outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, out.delivery.UID)
	l.dropOutcome(key, e)
	e.outcome = out
	l.unwritten++
}

func (l *ledger) dropOutcome(key types.NamespacedName, e *entry) {
	if e.outcome == nil {
		return
	}
	l.setForbidden(key, e, false)
	e.outcome = nil
	l.unwritten--
}

// failed remembers that key's outcome could not be written, and whether for want of the right to.
func (l *ledger) failed(key types.NamespacedName, forbidden bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[key]; e != nil && e.outcome != nil {
		l.setForbidden(key, e, forbidden)
	}
}

func (l *ledger) setForbidden(key types.NamespacedName, e *entry, forbidden bool) {
	switch {
	case forbidden == e.outcome.forbidden:
		return
	case forbidden:
		l.forbidden[key.Namespace]++
	case l.forbidden[key.Namespace] > 1:
		l.forbidden[key.Namespace]--
	default:
		delete(l.forbidden, key.Namespace)
	}
	e.outcome.forbidden = forbidden
}

// hopeless is how many of the unwritten outcomes the operator lacks the right to write.
func (l *ledger) hopeless() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, count := range l.forbidden {
		n += count
	}
	return n
}

// isForbidden reports whether there are outcomes in the namespace that the operator lacks the right to write.
func (l *ledger) isForbidden(namespace string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forbidden[namespace] > 0
}

// saw remembers that a live read showed the object at resourceVersion: what is older is not acted on.
func (l *ledger) saw(key types.NamespacedName, uid types.UID, resourceVersion string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry(key, uid).resourceVersion = resourceVersion
}

// wrote remembers that this process's write of the object gave it resourceVersion, or that a live read showed it.
func (l *ledger) wrote(key types.NamespacedName, uid types.UID, resourceVersion string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, uid)
	e.resourceVersion = resourceVersion
	e.unstored = nil
	l.dropOutcome(key, e)
}

// refused remembers that status is d's, although the API server will not store it.
func (l *ledger) refused(key types.NamespacedName, uid types.UID, status *v1alpha1.WebhookDeliveryStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, uid)
	e.unstored = status
	l.dropOutcome(key, e)
}

// vanished remembers that the API server does not have d any more, whatever the cache says.
func (l *ledger) vanished(key types.NamespacedName, d *v1alpha1.WebhookDelivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, d.UID)
	e.gone = true
	l.dropOutcome(key, e)
}

// entry returns key's entry for that UID, a new one if the last was another object's.
func (l *ledger) entry(key types.NamespacedName, uid types.UID) *entry {
	e := l.entries[key]
	if e == nil || e.uid != uid {
		if e != nil {
			l.dropOutcome(key, e)
		}
		e = &entry{uid: uid}
		l.entries[key] = e
	}
	return e
}

// isStale reports whether the cached d is older than what this process has written to it, or known to be gone.
func (l *ledger) isStale(key types.NamespacedName, d *v1alpha1.WebhookDelivery) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		return false
	}
	if e.gone && e.uid == d.UID {
		return true
	}
	if e.resourceVersion != "" && isOlder(d.ResourceVersion, e.resourceVersion) {
		return true
	}
	// Kept, as the other of the two views may be older, and be all that is left when d has lost its label.
	e.resourceVersion = d.ResourceVersion
	return false
}

// forget drops what is known of key, which the cache no longer holds. cacheVersion is the resource version that the
// whole cache has reached, empty if it cannot tell; forget reports false, and keeps the entry, while that is older than
// the last write: the cache may have gone back in time and show the object again.
func (l *ledger) forget(key types.NamespacedName, cacheVersion string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		return true
	}
	if e.resourceVersion != "" && cacheVersion != "" && isOlder(cacheVersion, e.resourceVersion) {
		return false
	}
	l.dropOutcome(key, e)
	delete(l.entries, key)
	return true
}

// known is the status of d that the API server refuses to store; nil if there is none.
func (l *ledger) known(key types.NamespacedName, uid types.UID) *v1alpha1.WebhookDeliveryStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[key]; e != nil && e.uid == uid {
		return e.unstored
	}
	return nil
}

// isRefused reports whether the API server refuses to store key's status.
func (l *ledger) isRefused(key types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	return e != nil && e.unstored != nil
}

// due returns when d's next attempt may be made, computing it only once in this process for each wait: the wall clock
// may leap afterwards.
func (l *ledger) due(
	key types.NamespacedName, d *v1alpha1.WebhookDelivery, compute func() time.Time,
) time.Time {
	if d.Status.NextAttemptTime == nil {
		return time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, d.UID)
	if next := d.Status.NextAttemptTime.UnixMicro(); e.dueFor != next {
		e.due, e.dueFor = compute(), next
	}
	return e.due
}

// setDue remembers and returns when the attempt after out's may be made, counted from the end of out's request on this
// process's monotonic clock: the wall clock may have leapt since. It is the zero time if there is no other attempt.
func (l *ledger) setDue(key types.NamespacedName, out *outcome) time.Time {
	next := out.status.NextAttemptTime
	if next == nil {
		return time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key, out.delivery.UID)
	e.due = out.attempt.finished.Add(next.Sub(out.attempt.end()) + attemptRounding)
	e.dueFor = next.UnixMicro()
	return e.due
}

// waited is how long d has waited for its Secret, and whether an event of this process has told of that. What this
// process has seen of the wait it has by its monotonic clock: the wall clock may leap.
func (l *ledger) waited(
	key types.NamespacedName, d *v1alpha1.WebhookDelivery, now time.Time,
) (waited time.Duration, warned bool) {
	since := d.Status.WaitingSince
	if since == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, elapsed := l.entry(key, d.UID), now.Sub(l.start)
	if e.waitFor != since.Unix() {
		e.waitFor, e.warned = since.Unix(), false
		e.waitBegan = elapsed - max(0, now.Sub(since.Time))
	}
	return elapsed - e.waitBegan, e.warned
}

// setWarned remembers that an event has told of d's present wait for a Secret.
func (l *ledger) setWarned(key types.NamespacedName, d *v1alpha1.WebhookDelivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry(key, d.UID).warned = true
}

// begin and end stand around a request of key: from before it until what came of it is settled.
func (l *ledger) begin(key types.NamespacedName, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry(key, uid).sending = true
	l.inFlight++
}

func (l *ledger) end(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[key]; e != nil {
		e.sending = false
	}
	l.inFlight--
}

// isInFlight reports whether a request of key has begun whose outcome is not recorded.
func (l *ledger) isInFlight(key types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	return e != nil && (e.sending || e.outcome != nil)
}

// load is how many outcomes are unwritten and how many requests are in flight.
func (l *ledger) load() (unwritten, inFlight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unwritten, l.inFlight
}

// left are the keys that have an unwritten outcome which nobody is about to write.
func (l *ledger) left() []types.NamespacedName {
	return l.keys(func(e *entry) bool { return e.outcome != nil && !e.sending })
}

// unstored are the keys whose status the API server has refused to store, and that have no outcome which would store it
// along.
func (l *ledger) unstored() []types.NamespacedName {
	return l.keys(func(e *entry) bool { return e.unstored != nil && e.outcome == nil && !e.sending })
}

func (l *ledger) keys(which func(*entry) bool) (keys []types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.entries {
		if which(e) {
			keys = append(keys, key)
		}
	}
	return keys
}

// isOlder compares two resource versions of the same resource (KEP-5504). What cannot be compared is taken as older: to
// wait is safe, to act is not.
func isOlder(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err != nil || order < 0
}
