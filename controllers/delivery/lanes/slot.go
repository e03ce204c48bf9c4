// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"container/list"
	"time"
)

// ticket is a key that is parked, or for which a slot is reserved.
type ticket[K comparable] struct {
	key      K
	line     *line[K]
	since    time.Time
	inParked *list.Element // nil once a slot is reserved
	inLine   *list.Element
}

func (t *ticket[K]) reserved() bool { return t.inParked == nil }

// slot is what a key holds from Acquire to release.
type slot[K comparable] struct {
	lanes     *Lanes[K]
	lane      *lane[K]
	namespace *gate[K]
	released  bool
}

// held returns the release function of a slot that has been counted.
func (l *Lanes[K]) held(lane *lane[K], namespace *gate[K]) func() {
	s := &slot[K]{lanes: l, lane: lane, namespace: namespace}
	return s.release
}

func (s *slot[K]) release() {
	s.lanes.wakeAll(s.free())
}

func (s *slot[K]) free() []K {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	if s.released {
		return nil
	}
	s.released = true
	return s.lanes.free(s.lane, s.namespace)
}

// claim turns a reservation into a held slot. It returns nil for a key that is still parked.
func (l *Lanes[K]) claim(t *ticket[K]) func() {
	if !t.reserved() {
		return nil
	}
	l.tickets.remove(t.key)
	return l.held(t.line.lane, t.line.namespace)
}

// remove drops a ticket, frees its slot if it has one, and returns the keys to wake.
func (l *Lanes[K]) remove(t *ticket[K]) []K {
	l.tickets.remove(t.key)
	ln := t.line
	if t.reserved() {
		return l.free(ln.lane, ln.namespace)
	}
	l.parked.Remove(t.inParked)
	ln.tickets.Remove(t.inLine)
	if ln.tickets.Len() == 0 {
		l.withdraw(ln)
		l.promote(ln.lane)
		l.end(ln)
	}
	return nil
}

// free gives a slot back, reserves what has become free for the next tickets, and returns their keys.
func (l *Lanes[K]) free(lane *lane[K], namespace *gate[K]) []K {
	l.count(lane, namespace, -1)
	woken := l.handOut()
	l.vanish(lane, namespace)
	return woken
}

// handOut reserves what is free for the next tickets, and returns their keys.
func (l *Lanes[K]) handOut() (woken []K) {
	for ln := l.next(); ln != nil; ln = l.next() {
		t := l.serve(ln)
		l.parked.Remove(t.inParked)
		t.inParked = nil
		woken = append(woken, t.key)
	}
	return woken
}

// count adds delta to the slots in use.
func (l *Lanes[K]) count(lane *lane[K], namespace *gate[K], delta int) {
	l.used += delta
	lane.used += delta
	namespace.used += delta
	l.refresh(&lane.gate)
	l.refresh(namespace)
}

// gates returns the gates of a place, which the caller must put to use under the same lock.
func (l *Lanes[K]) gates(place Place) (*lane[K], *gate[K]) {
	endpoint, ok := l.lanes.get(place.Endpoint)
	if !ok {
		endpoint = &lane[K]{gate: newGate[K](place.Endpoint, l.pace.limit(place.Endpoint))}
		l.lanes.put(place.Endpoint, endpoint)
	}
	namespace, ok := l.namespaces.get(place.Namespace)
	if !ok {
		g := newGate[K](place.Namespace, l.limits.PerNamespace)
		namespace = &g
		l.namespaces.put(place.Namespace, namespace)
	}
	return endpoint, namespace
}

// vanish drops gates that nothing uses.
func (l *Lanes[K]) vanish(lane *lane[K], namespace *gate[K]) {
	if lane.idle() {
		l.lanes.remove(lane.name)
	}
	if namespace.idle() {
		l.namespaces.remove(namespace.name)
	}
}
