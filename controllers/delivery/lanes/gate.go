// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import "container/list"

// gate is a bound on the slots of one endpoint or one namespace, with the lines that cannot pass it.
type gate[K comparable] struct {
	name    string
	limit   int
	used    int               // slots held or reserved
	lines   int               // lines of this endpoint or namespace, wherever they wait
	waiting minHeap[*line[K]] // lines that wait here, see line.at
	index   int               // in Lanes.open, -1 outside
}

func newGate[K comparable](name string, limit int) gate[K] {
	return gate[K]{name: name, limit: limit, index: -1}
}

func (g *gate[K]) full() bool { return g.used >= g.limit }

func (g *gate[K]) idle() bool { return g.used == 0 && g.lines == 0 }

// before orders gates that have lines waiting.
func (g *gate[K]) before(other *gate[K]) bool { return g.waiting[0].before(other.waiting[0]) }

func (g *gate[K]) moved(index int) { g.index = index }

// lane is an endpoint: a gate, and the order of the namespaces that are parked there.
type lane[K comparable] struct {
	gate[K]
	turn uint64    // Lanes.clock when the endpoint was last served from its lines, or began to have lines
	head *line[K]  // the line whose turn it is at this endpoint; waits there if ring is not empty
	ring list.List // of *line[K] whose turn comes later
}

// line is the parked keys of one place, first in, first out. It is never empty.
type line[K comparable] struct {
	place     Place
	lane      *lane[K]
	namespace *gate[K]
	tickets   list.List // of *ticket[K]

	turn   uint64        // the lane's turn when the line became its head
	joined uint64        // Lanes.clock when the line joined the ring
	inRing *list.Element // nil once its turn has come
	at     *gate[K]      // the one gate in whose waiting it is; nil while in the ring
	index  int           // in at.waiting
}

func (ln *line[K]) before(other *line[K]) bool {
	if ln.turn != other.turn {
		return ln.turn < other.turn
	}
	return ln.joined < other.joined
}

func (ln *line[K]) moved(index int) { ln.index = index }

// shut returns a gate that the line cannot pass, or nil if it can pass both.
func (ln *line[K]) shut() *gate[K] {
	switch {
	case ln.lane.full():
		return &ln.lane.gate
	case ln.namespace.full():
		return ln.namespace
	default:
		return nil
	}
}
