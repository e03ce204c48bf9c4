// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"container/list"
	"math/bits"
	"time"
)

const (
	// hangTTL is how long an endpoint counts as one that hangs after its last time-out, if nothing else is heard of it.
	hangTTL = 10 * time.Minute
	// maxHanging bounds the memory that endpoints that hang take. Of more than these, the oldest are forgotten.
	maxHanging = 4096
)

// pace knows which endpoints hang, and how many slots each endpoint may have. A request that times out has held its
// slot for as long as a request may take: a hundred endpoints that hang would leave nothing of their namespace's share
// to the one that does not. So those that hang divide half of such a share among them. One alone has as many as any.
type pace struct {
	most    int // slots of an endpoint
	share   int // slots of all those together that hang
	hanging map[string]*list.Element
	order   list.List // of *hung, the one that timed out longest ago first
}

type hung struct {
	endpoint string
	timedOut time.Time
}

func newPace(limits Limits) pace {
	return pace{most: limits.PerEndpoint, share: limits.PerNamespace / 2, hanging: map[string]*list.Element{}}
}

// limit is the endpoint's bound.
func (p *pace) limit(endpoint string) int {
	if _, ok := p.hanging[endpoint]; ok {
		return p.each()
	}
	return p.most
}

// each is the bound of an endpoint that hangs, at least 1. It is a power of two, so that it seldom changes.
func (p *pace) each() int {
	each := p.share / max(1, len(p.hanging))
	switch {
	case each >= p.most:
		return p.most
	case each < 1:
		return 1
	}
	return 1 << (bits.Len(uint(each)) - 1)
}

// learn takes note of a request that timed out at now, or did not.
func (p *pace) learn(endpoint string, timedOut bool, now time.Time) {
	known := p.hanging[endpoint]
	switch {
	case timedOut && known != nil:
		known.Value.(*hung).timedOut = now
		p.order.MoveToBack(known)
	case timedOut:
		p.hanging[endpoint] = p.order.PushBack(&hung{endpoint, now})
	case known != nil:
		p.forget(known)
	}
	for first := p.order.Front(); first != nil; first = p.order.Front() {
		if len(p.hanging) <= maxHanging && now.Sub(first.Value.(*hung).timedOut) < hangTTL {
			break
		}
		p.forget(first)
	}
}

func (p *pace) forget(element *list.Element) {
	delete(p.hanging, p.order.Remove(element).(*hung).endpoint)
}
