// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/webhookdelivery/operator/hack/receiver"
)

// writeTime is how long the write of an outcome may take: as long as the manager waits for an answer. On a busy machine
// it takes seconds.
const writeTime = 10 * time.Second

// arrivalTime is how much later a busy receiver may take up what was sent. Nothing else comes so soon after a loss: the
// next leader waits for the lease.
const arrivalTime = time.Second

// loss is a process's losing what it knew of the requests that it had in flight, or had not recorded yet.
type loss struct {
	// from and to: a request may have been lost that began before to and was answered, or given up, after from.
	from, to time.Time
	// after and until: one may also have begun then. Zero if not.
	after, until time.Time
	// most is how many requests may have been lost.
	most int
	// atRisk is how many were, as far as the process could tell: a moment before it was killed, or when it gave up.
	atRisk int
}

func (l loss) covers(r receiver.Record) bool {
	if !r.Arrived.After(l.to.Add(arrivalTime)) && (r.Open || !r.Arrived.Add(r.Took).Before(l.from)) {
		return true
	}
	return !l.until.IsZero() && !r.Arrived.Before(l.after) && !r.Arrived.After(l.until)
}

// pardon says which of losses explains that one of the requests that were seen of a delivery has no recorded attempt,
// and makes that loss smaller by it; -1 if none does. It need not be the lost request itself: a process that was
// stopped and resumed may record its own after another has repeated it. One process loses at most one request of a
// delivery, so losses that are used do not count.
func pardon(seen []receiver.Record, losses []loss, used map[int]bool) int {
	best := -1
	for i, l := range losses {
		if !used[i] && l.most > 0 && slices.ContainsFunc(seen, l.covers) && (best < 0 || l.most > losses[best].most) {
			best = i
		}
	}
	if best >= 0 {
		losses[best].most--
	}
	return best
}

var (
	stopped   = regexp.MustCompile(`manager stopped`)
	unwritten = regexp.MustCompile(`(\d+) outcomes unwritten and (\d+) requests in flight`)
)

// admitted is how many outcomes a process that ended by itself says, at the end of its log, that it has lost. It is not
// ok if the process does not seem to have meant to end.
func admitted(end string) (n int, ok bool) {
	for _, match := range unwritten.FindAllStringSubmatch(end, -1) {
		outcomes, _ := strconv.Atoi(match[1]) // digits
		inFlight, _ := strconv.Atoi(match[2])
		n = max(n, outcomes+inFlight)
	}
	return n, stopped.MatchString(end)
}

var gauges = regexp.MustCompile(`(?m)^webhookdelivery_(?:requests_in_flight|unwritten_outcomes) (\d+)$`)

// pendingIn is the sum of requests in flight and unwritten outcomes in a process's metrics. It may count one request as
// both.
func pendingIn(metrics string) (n int) {
	for _, match := range gauges.FindAllStringSubmatch(metrics, -1) {
		value, _ := strconv.Atoi(match[1]) // digits
		n += value
	}
	return n
}
