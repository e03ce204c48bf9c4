// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import "container/heap"

// Every line whose turn has come waits at exactly one gate. Where that gate has room, its first line is a candidate;
// the others wait behind it. A candidate that finds its other gate full goes to wait there instead, so gates that are
// full are out of sight until they have room. Between operations there are candidates only while the total is used up.

// begin opens a line for a place that has none; the caller adds its first ticket under the same lock.
func (l *Lanes[K]) begin(place Place, lane *lane[K], namespace *gate[K]) *line[K] {
	ln := &line[K]{place: place, lane: lane, namespace: namespace}
	l.lines.put(place, ln)
	if lane.lines == 0 {
		lane.turn = l.tick()
	}
	lane.lines++
	namespace.lines++
	l.join(ln)
	l.promote(lane)
	l.next() // nil, since room is given away when it arises; a line that its namespace stops yields here and now
	return ln
}

// end drops a line without tickets.
func (l *Lanes[K]) end(ln *line[K]) {
	l.lines.remove(ln.place)
	ln.lane.lines--
	ln.namespace.lines--
	l.vanish(ln.lane, ln.namespace)
}

func (l *Lanes[K]) tick() uint64 {
	l.clock++
	return l.clock
}

// next returns the line whose turn it is, or nil when no line has room.
func (l *Lanes[K]) next() *line[K] {
	for l.used < l.limits.Total && len(l.open) > 0 {
		first := l.open[0].waiting[0]
		shut := first.shut()
		if shut == nil {
			return first
		}
		l.leave(first)
		l.wait(first, shut)
		if lane := first.lane; lane.head == first && lane.ring.Len() > 0 { // its namespace is what is full, see lead
			lane.head = nil
			l.promote(lane)
		}
	}
	return nil
}

// serve takes the first ticket and a slot for it, and ends the line's turn.
func (l *Lanes[K]) serve(ln *line[K]) *ticket[K] {
	t := ln.tickets.Front().Value.(*ticket[K])
	ln.tickets.Remove(t.inLine)
	lane := ln.lane
	l.count(lane, ln.namespace, 1)
	l.withdraw(ln)
	lane.turn = l.tick()
	if head := lane.head; head != nil { // ln had yielded an earlier turn: this one counts for the endpoint too
		l.leave(head)
		head.turn = lane.turn
		l.lead(lane)
	}
	if ln.tickets.Len() > 0 {
		l.join(ln)
	} else {
		l.end(ln)
	}
	l.promote(lane)
	return t
}

// join puts a line at the end of its lane's ring.
func (l *Lanes[K]) join(ln *line[K]) {
	lane := ln.lane
	ln.joined = l.tick()
	ln.inRing = lane.ring.PushBack(ln)
	if lane.head != nil && lane.ring.Len() == 1 { // the head is no longer alone
		l.leave(lane.head)
		l.lead(lane)
	}
}

// promote gives the lane's turn to the next line of its ring if no line has it.
func (l *Lanes[K]) promote(lane *lane[K]) {
	next := lane.ring.Front()
	if lane.head != nil || next == nil {
		return
	}
	ln := next.Value.(*line[K])
	lane.ring.Remove(ln.inRing)
	ln.inRing = nil
	ln.turn = lane.turn
	lane.head = ln
	l.lead(lane)
}

// lead lets the lane's head wait. One with others behind it waits at the lane, where it is found if it must yield to
// them. One that is alone waits at its namespace, so that a namespace which is parked at thousands of endpoints goes
// out of sight at once when it reaches its bound.
func (l *Lanes[K]) lead(lane *lane[K]) {
	if lane.ring.Len() == 0 && !lane.full() {
		l.wait(lane.head, lane.head.namespace)
	} else {
		l.wait(lane.head, &lane.gate)
	}
}

// withdraw takes a line out of wherever it waits.
func (l *Lanes[K]) withdraw(ln *line[K]) {
	if ln.inRing != nil {
		ln.lane.ring.Remove(ln.inRing)
		ln.inRing = nil
		return
	}
	l.leave(ln)
	if ln.lane.head == ln {
		ln.lane.head = nil
	}
}

func (l *Lanes[K]) wait(ln *line[K], g *gate[K]) {
	ln.at = g
	heap.Push(&g.waiting, ln)
	l.refresh(g)
}

func (l *Lanes[K]) leave(ln *line[K]) {
	g := ln.at
	ln.at = nil
	heap.Remove(&g.waiting, ln.index)
	l.refresh(g)
}

// refresh puts the gate where it belongs in open after its first line or its use has changed.
func (l *Lanes[K]) refresh(g *gate[K]) {
	candidate := len(g.waiting) > 0 && !g.full()
	switch {
	case candidate && g.index < 0:
		heap.Push(&l.open, g)
	case candidate:
		heap.Fix(&l.open, g.index)
	case g.index >= 0:
		heap.Remove(&l.open, g.index)
	}
}
