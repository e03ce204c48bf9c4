// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

// books is who has which slots, and says by counting what the bounds still allow.
type books struct {
	limits Limits
	taken  map[string]Place // held, by the name of the slot
	kept   map[string]Place // reserved, by key
	hangs  map[string]bool  // the endpoints whose last request timed out
}

func newBooks(limits Limits) books {
	return books{limits: limits, taken: map[string]Place{}, kept: map[string]Place{}, hangs: map[string]bool{}}
}

func (b *books) learn(endpoint string, timedOut bool) {
	if delete(b.hangs, endpoint); timedOut {
		b.hangs[endpoint] = true
	}
}

// limit is the endpoint's bound: of those that hang, the largest power of two that fits into their part of half a
// namespace's.
func (b *books) limit(endpoint string) int {
	if !b.hangs[endpoint] || b.limits.PerNamespace/2/len(b.hangs) >= b.limits.PerEndpoint {
		return b.limits.PerEndpoint
	}
	limit := 1
	for 2*limit <= b.limits.PerNamespace/2/len(b.hangs) {
		limit *= 2
	}
	return limit
}

// used counts the slots that match, held or reserved.
func (b *books) used(match func(Place) bool) int {
	n := 0
	for _, places := range []map[string]Place{b.taken, b.kept} {
		for _, p := range places {
			if match(p) {
				n++
			}
		}
	}
	return n
}

func (b *books) total() int { return b.used(func(Place) bool { return true }) }

func (b *books) endpointFull(p Place) bool {
	return b.used(func(q Place) bool { return p.Endpoint == q.Endpoint }) >= b.limit(p.Endpoint)
}

func (b *books) namespaceFull(p Place) bool {
	return b.used(func(q Place) bool { return p.Namespace == q.Namespace }) >= b.limits.PerNamespace
}

// room reports whether all three bounds let a key of this place pass.
func (b *books) room(p Place) bool {
	return b.total() < b.limits.Total && !b.endpointFull(p) && !b.namespaceFull(p)
}
