// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"cmp"
	"slices"
)

// model is the specification of Lanes, written for reading: it looks at every line each time.
type model struct {
	books
	clock int
	turns map[string]int // by endpoint
	lines []*modelLine
}

type modelLine struct {
	place  Place
	keys   []string
	turn   int // 0 while its turn has not come
	joined int
	yields bool // its turn came while the namespace was at its bound
}

func newModel(limits Limits) *model {
	return &model{books: newBooks(limits), turns: map[string]int{}}
}

func (m *model) tick() int {
	m.clock++
	return m.clock
}

func (m *model) line(p Place) *modelLine {
	for _, line := range m.lines {
		if line.place == p {
			return line
		}
	}
	return nil
}

// parked returns where key is parked, and nil if it is not.
func (m *model) parked(key string) *modelLine {
	for _, line := range m.lines {
		if slices.Contains(line.keys, key) {
			return line
		}
	}
	return nil
}

// acquire returns whether key takes the named slot, and the keys woken.
func (m *model) acquire(key, slot string, p Place) (ok bool, woken []string) {
	if kept, reserved := m.kept[key]; reserved && kept == p {
		delete(m.kept, key)
		m.taken[slot] = p
		return true, nil
	}
	line := m.parked(key)
	if line != nil && line.place == p {
		return false, nil
	}
	woken = m.forget(key)
	line = m.line(p)
	if line == nil && m.room(p) {
		m.taken[slot] = p
		return true, woken
	}
	if line == nil {
		if !slices.ContainsFunc(m.lines, func(l *modelLine) bool { return l.place.Endpoint == p.Endpoint }) {
			m.turns[p.Endpoint] = m.tick()
		}
		line = &modelLine{place: p, joined: m.tick()}
		m.lines = append(m.lines, line)
	}
	line.keys = append(line.keys, key)
	m.promote()
	m.next() // a line yields if it can
	return false, woken
}

func (m *model) forget(key string) []string {
	if _, reserved := m.kept[key]; reserved {
		delete(m.kept, key)
		return m.handOut()
	}
	if line := m.parked(key); line != nil {
		line.keys = slices.DeleteFunc(line.keys, func(k string) bool { return k == key })
		m.sweep()
	}
	return nil
}

func (m *model) learn(endpoint string, timedOut bool) []string {
	m.books.learn(endpoint, timedOut)
	return m.handOut()
}

func (m *model) release(slot string) []string {
	delete(m.taken, slot)
	return m.handOut()
}

// sweep drops empty lines.
func (m *model) sweep() {
	m.lines = slices.DeleteFunc(m.lines, func(l *modelLine) bool { return len(l.keys) == 0 })
	m.promote()
}

// promote lets the turn come of the first line of each endpoint where no line has it.
func (m *model) promote() {
	byJoined := slices.Clone(m.lines)
	slices.SortFunc(byJoined, func(a, b *modelLine) int { return cmp.Compare(a.joined, b.joined) })
	has := map[string]bool{}
	for _, line := range m.lines {
		if line.turn > 0 && !line.yields {
			has[line.place.Endpoint] = true
		}
	}
	for _, line := range byJoined {
		if line.turn == 0 && !has[line.place.Endpoint] {
			has[line.place.Endpoint] = true
			line.turn = m.turns[line.place.Endpoint]
		}
	}
}

// followed reports whether another line of the endpoint waits for its turn.
func (m *model) followed(line *modelLine) bool {
	return slices.ContainsFunc(m.lines, func(l *modelLine) bool {
		return l.place.Endpoint == line.place.Endpoint && l.turn == 0
	})
}

// next returns the line with the earliest turn that has room. Lines with an earlier turn yield if their namespace is
// what stops them and another line of the endpoint waits for its turn.
func (m *model) next() *modelLine {
	for m.total() < m.limits.Total {
		var first *modelLine
		for _, line := range m.lines {
			if line.turn == 0 || m.endpointFull(line.place) ||
				m.namespaceFull(line.place) && (line.yields || !m.followed(line)) {
				continue
			}
			if first == nil || cmp.Or(cmp.Compare(line.turn, first.turn), cmp.Compare(line.joined, first.joined)) < 0 {
				first = line
			}
		}
		if first == nil || !m.namespaceFull(first.place) {
			return first
		}
		first.yields = true
		m.promote()
	}
	return nil
}

func (m *model) handOut() (woken []string) {
	for line := m.next(); line != nil; line = m.next() {
		endpoint := line.place.Endpoint
		key := line.keys[0]
		line.keys = line.keys[1:]
		m.kept[key] = line.place
		woken = append(woken, key)
		m.turns[endpoint] = m.tick()
		for _, other := range m.lines {
			if other != line && other.place.Endpoint == endpoint && other.turn > 0 && !other.yields {
				other.turn = m.turns[endpoint]
			}
		}
		line.turn, line.yields, line.joined = 0, false, m.tick()
		m.sweep()
	}
	return woken
}
