// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkStructure fails the test unless everything in l is where it belongs and nothing idle is left.
func checkStructure[K comparable](t failer, l *Lanes[K]) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, parked, used := map[*gate[K]]int{}, 0, 0
	for place, ln := range l.lines.entries {
		lines[&ln.lane.gate]++
		lines[ln.namespace]++
		parked += ln.tickets.Len()
		if ln.place != place || ln.tickets.Len() == 0 || (ln.inRing == nil) == (ln.at == nil) {
			t.Fatalf("line of %v: place %v, %d tickets, in ring %t, at a gate %t",
				place, ln.place, ln.tickets.Len(), ln.inRing != nil, ln.at != nil)
		}
		if ln.at != nil && (ln.at != &ln.lane.gate && ln.at != ln.namespace || ln.at.waiting[ln.index] != ln) {
			t.Fatalf("line of %v waits at the wrong gate %q", place, ln.at.name)
		}
	}
	for name, lane := range l.lanes.entries {
		used += lane.used
		if lane.head == nil && lane.ring.Len() > 0 || lane.head != nil && lane.ring.Len() > 0 && lane.head.at != &lane.gate {
			t.Fatalf("endpoint %s: head %v of %d more lines", name, lane.head, lane.ring.Len())
		}
		checkGate(t, l, &lane.gate, lines[&lane.gate], l.pace.limit(name), l.limits.PerEndpoint)
	}
	for _, namespace := range l.namespaces.entries {
		checkGate(t, l, namespace, lines[namespace], l.limits.PerNamespace, l.limits.PerNamespace)
	}
	if used != l.used || used > l.limits.Total || parked != l.parked.Len() || len(l.tickets.entries) < parked {
		t.Fatalf("%d slots (%d at endpoints), %d parked (%d in lines), %d tickets",
			l.used, used, l.parked.Len(), parked, len(l.tickets.entries))
	}
	if l.used < l.limits.Total && len(l.open) > 0 {
		t.Fatalf("%d of %d slots used, and gate %q is open", l.used, l.limits.Total, l.open[0].name)
	}
	for i, g := range l.open {
		if g.index != i || g.full() || len(g.waiting) == 0 {
			t.Fatalf("gate %q in open: %d of %d used, %d waiting", g.name, g.used, g.limit, len(g.waiting))
		}
	}
}

func checkGate[K comparable](t failer, l *Lanes[K], g *gate[K], lines, limit, most int) {
	t.Helper()
	if g.idle() || g.lines != lines || g.limit != limit || g.limit < 1 || g.used < 0 || g.used > most {
		t.Fatalf("gate %q: %d of %d used, want %d of at most %d; %d lines, want %d", g.name, g.used, g.limit, limit, most,
			g.lines, lines)
	}
	if inOpen := g.index >= 0; inOpen != (len(g.waiting) > 0 && !g.full()) || inOpen && l.open[g.index] != g {
		t.Fatalf("gate %q: %d of %d used, %d waiting, at %d in open", g.name, g.used, g.limit, len(g.waiting), g.index)
	}
}

// checkEmpty fails the test unless nothing at all is left.
func checkEmpty[K comparable](t failer, l *Lanes[K]) {
	t.Helper()
	n := len(l.tickets.entries) + len(l.lines.entries) + len(l.lanes.entries) + len(l.namespaces.entries) + len(l.open)
	if n+l.used+l.parked.Len() > 0 {
		t.Fatalf("left over: %d tickets, %d lines, %d endpoints, %d namespaces, %d open gates, %d slots, %d parked",
			len(l.tickets.entries), len(l.lines.entries), len(l.lanes.entries), len(l.namespaces.entries), len(l.open),
			l.used, l.parked.Len())
	}
}
