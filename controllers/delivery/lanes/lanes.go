// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lanes bounds how many slots are taken at once: in total, per endpoint and per namespace. A slot is taken
// without blocking; a key that finds none is parked, and is woken when a slot has been reserved for it.
//
// # Order
//
// Keys of one [Place] are served first in, first out. Endpoints take turns: the one that was served from its parked
// keys longest ago comes first, and one that begins to park keys joins at the end. The namespaces parked at one
// endpoint take turns in the same way.
//
// A namespace at its bound yields its turn to the next namespace of the endpoint but keeps its claim: once it has room
// again, its claims are served oldest first, before any later turn. An endpoint at its bound is passed over and keeps
// its place. So a key never waits for a bound that is not its own.
//
// # How long a key can wait
//
// No slot is kept back: as long as a parked key has room under all three bounds, it or another key is given that
// slot, and only finitely many others go first. A key therefore waits until its own endpoint and its own namespace have
// room at the same moment. Keys of other places can put that moment off while they keep both at their bounds without
// a pause; keeping a slot back for such a key would let a blocked endpoint block other endpoints.
//
// # Endpoints that hang
//
// Endpoints whose requests time out divide half of a namespace's bound among them, and have at least one slot each; one
// alone is bounded as any other. An endpoint hangs from a time-out on until a request ends in time: see [Lanes.Learn].
// Slots beyond a bound that has shrunk are not taken away.
//
// # Cost
//
// An operation costs O(log n), amortized, in the number n of parked places, and never looks at other parked keys.
// Places that are blocked stand apart, by the bound that blocks them. One that has become blocked by its other bound in
// the meantime is found when its turn comes, set apart there, and not looked at again until that bound has room. While
// the total has room, a freed slot finds no more of these than there are endpoints and namespaces at their bounds (at
// most Total/PerEndpoint + Total/PerNamespace), and one for each key it serves. While the total is used up, places
// that several namespaces share can become blocked unseen; each is found once.
package lanes

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Limits bound how many slots are taken at once. Each is at least 1.
type Limits struct {
	// Total bounds all slots.
	Total int
	// PerEndpoint bounds the slots of one endpoint. It is at most Total.
	PerEndpoint int
	// PerNamespace bounds the slots of one namespace. It is at most Total.
	PerNamespace int
}

func (l Limits) validate() error {
	if l.Total < 1 {
		return fmt.Errorf("limit in total is %d, want at least 1", l.Total)
	}
	return errors.Join(l.part("per endpoint", l.PerEndpoint), l.part("per namespace", l.PerNamespace))
}

func (l Limits) part(name string, limit int) error {
	if limit < 1 || limit > l.Total {
		return fmt.Errorf("limit %s is %d, want 1 to %d, the limit in total", name, limit, l.Total)
	}
	return nil
}

// Place is where a key takes its slot.
type Place struct {
	// Endpoint is scheme://host:port, compared as a string: the caller normalizes it.
	Endpoint string
	// Namespace is the tenant whose bound the slot counts against.
	Namespace string
}

// Lanes hands out slots to keys. It is safe for concurrent use.
//
// Its protocol: call Acquire when a key is due. If it refuses, return; wake brings the key back. Every key that was
// refused must be acquired or forgotten in the end: the slot reserved for a woken key stays taken until then.
type Lanes[K comparable] struct {
	limits Limits
	wake   func(K)

	mu         sync.Mutex
	pace       pace
	used       int                  // slots held or reserved
	tickets    table[K, *ticket[K]] // parked or reserved
	parked     list.List            // of *ticket[K] without a reservation, longest parked first
	lines      table[Place, *line[K]]
	lanes      table[string, *lane[K]] // by endpoint
	namespaces table[string, *gate[K]]
	open       minHeap[*gate[K]] // the gates that have room and lines waiting
	clock      uint64            // counts turns and joins, so that no two are equal
}

// New returns Lanes without any slot taken. It calls wake, never under a lock, with each key for which a slot has been
// reserved. The call comes from whoever freed the slot, possibly before the Acquire that parked the key has returned,
// or after the key has been acquired or forgotten; wake should do no more than queue the key. New returns an error if
// the limits are not valid or wake is nil.
func New[K comparable](limits Limits, wake func(K)) (*Lanes[K], error) {
	if err := limits.validate(); err != nil {
		return nil, err
	}
	if wake == nil {
		return nil, errors.New("wake is nil")
	}
	return &Lanes[K]{limits: limits, wake: wake, pace: newPace(limits)}, nil
}

// Acquire takes a slot for key at place without blocking. It returns ok and the function that gives the slot back,
// which may be called more than once and from any goroutine. Without room, or when other keys are parked at the place,
// it parks the key and returns nil and false; once a slot has been reserved for the key, wake is called, and the key's
// next Acquire at this place succeeds.
//
// A parked key that is acquired again keeps its place in line. At another place than before it loses it, and its
// reservation: the newer place counts. A key that holds a slot is not remembered; acquired again, it takes another one.
func (l *Lanes[K]) Acquire(key K, place Place) (release func(), ok bool) {
	release, woken := l.acquire(key, place)
	l.wakeAll(woken)
	return release, release != nil
}

func (l *Lanes[K]) acquire(key K, place Place) (release func(), woken []K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.tickets.get(key); ok {
		if t.line.place == place {
			return l.claim(t), nil
		}
		woken = l.remove(t)
	}
	lane, namespace := l.gates(place)
	line, ok := l.lines.get(place)
	if !ok {
		if l.used < l.limits.Total && !lane.full() && !namespace.full() {
			l.count(lane, namespace, 1)
			return l.held(lane, namespace), woken
		}
		line = l.begin(place, lane, namespace)
	}
	t := &ticket[K]{key: key, line: line, since: time.Now()}
	l.tickets.put(key, t)
	t.inParked = l.parked.PushBack(t)
	t.inLine = line.tickets.PushBack(t)
	return nil, woken
}

// Forget takes key out of line, or gives the slot reserved for it to the next. Slots that are held, and keys that are
// neither parked nor reserved, are left alone.
func (l *Lanes[K]) Forget(key K) {
	l.wakeAll(l.forget(key))
}

func (l *Lanes[K]) forget(key K) []K {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tickets.get(key)
	if !ok {
		return nil
	}
	return l.remove(t)
}

// IsParked reports whether key waits for a slot, and none is reserved for it yet.
func (l *Lanes[K]) IsParked(key K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tickets.get(key)
	return ok && !t.reserved()
}

// Learn tells that a request to the endpoint timed out, or ended in time, however it ended. The bounds follow. Tell it
// before the request's slot is given back, so that the slot goes to whom it may go to now.
func (l *Lanes[K]) Learn(endpoint string, timedOut bool) {
	l.wakeAll(l.learn(endpoint, timedOut))
}

func (l *Lanes[K]) learn(endpoint string, timedOut bool) []K {
	l.mu.Lock()
	defer l.mu.Unlock()
	each := l.pace.each()
	l.pace.learn(endpoint, timedOut, time.Now())
	if lane, ok := l.lanes.get(endpoint); ok {
		l.bound(lane)
	}
	if l.pace.each() != each {
		for _, lane := range l.lanes.entries {
			l.bound(lane)
		}
	}
	return l.handOut()
}

// bound gives the lane the bound that it has now.
func (l *Lanes[K]) bound(lane *lane[K]) {
	if limit := l.pace.limit(lane.name); limit != lane.limit {
		lane.limit = limit
		l.refresh(&lane.gate)
	}
}

// Snapshot is the state of Lanes at one moment.
type Snapshot struct {
	// Parked counts the keys that wait for a slot.
	Parked int
	// InFlight counts the slots that are held, or reserved for keys that were woken.
	InFlight int
	// OldestParked is when the key that is parked for longest was parked at its place; zero if none is.
	OldestParked time.Time
}

// Snapshot returns the present state in constant time.
func (l *Lanes[K]) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Snapshot{Parked: l.parked.Len(), InFlight: l.used}
	if oldest := l.parked.Front(); oldest != nil {
		s.OldestParked = oldest.Value.(*ticket[K]).since
	}
	return s
}

func (l *Lanes[K]) wakeAll(keys []K) {
	for _, key := range keys {
		l.wake(key)
	}
}
