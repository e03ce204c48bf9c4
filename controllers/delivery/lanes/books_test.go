// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

// books is who has which slots, and says by counting what the bounds still allow.
type books struct {
	limits Limits
	taken  map[string]Place // held, by the name of the slot
	kept   map[string]Place // reserved, by key
}

func newBooks(limits Limits) books {
	return books{limits: limits, taken: map[string]Place{}, kept: map[string]Place{}}
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
	return b.used(func(q Place) bool { return p.Endpoint == q.Endpoint }) >= b.limits.PerEndpoint
}

func (b *books) namespaceFull(p Place) bool {
	return b.used(func(q Place) bool { return p.Namespace == q.Namespace }) >= b.limits.PerNamespace
}

// room reports whether all three bounds let a key of this place pass.
func (b *books) room(p Place) bool {
	return b.total() < b.limits.Total && !b.endpointFull(p) && !b.namespaceFull(p)
}
