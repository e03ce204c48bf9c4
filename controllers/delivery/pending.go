// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// state says what a delivery that has not ended is waiting for.
type state string

const (
	stateDue       state = "due"       // its attempt may be made: it queues, is parked or in flight
	stateWaiting   state = "waiting"   // its next attempt lies in the future
	stateSecret    state = "secret"    // a Secret is missing or unusable
	stateSuspended state = "suspended" // spec.suspend is set
)

var states = []state{stateDue, stateWaiting, stateSecret, stateSuspended}

func stateOf(d *v1alpha1.WebhookDelivery, now time.Time) state {
	switch {
	case d.Spec.Suspend:
		return stateSuspended
	case d.Status.WaitingSince != nil:
		return stateSecret
	case d.Status.NextAttemptTime != nil && d.Status.NextAttemptTime.After(now):
		return stateWaiting
	}
	return stateDue
}

var (
	pendingDesc = prometheus.NewDesc("webhookdelivery_pending",
		"Deliveries that have not ended, by state: due, waiting, secret or suspended. Only the leader has any.",
		[]string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("webhookdelivery_oldest_pending_age_seconds",
		"Age of the oldest delivery that has not ended, in whatever state; 0 if there is none.", nil, nil)
	parkedDesc = prometheus.NewDesc("webhookdelivery_parked",
		"Deliveries whose attempt is due but waits for a slot of its endpoint or namespace.", nil, nil)
	parkedAgeDesc = prometheus.NewDesc("webhookdelivery_parked_oldest_seconds",
		"How long the delivery that has waited longest for a slot has done so; 0 if there is none.", nil, nil)
	inFlightDesc = prometheus.NewDesc("webhookdelivery_requests_in_flight",
		"Requests that have been started and whose outcome is not recorded yet.", nil, nil)
	unwrittenDesc = prometheus.NewDesc("webhookdelivery_unwritten_outcomes",
		"Outcomes of attempts that have not been written to the API server yet.", nil, nil)
)

// pending collects what there is to do at the moment of a scrape, from the cache and the lanes.
type pending struct{ r *Reconciler }

// Describe implements prometheus.Collector.
func (p pending) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, descs) }

// Collect implements prometheus.Collector.
func (p pending) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	now := time.Now()
	counts := map[state]int{}
	oldest := now
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, d := range p.r.objects(ctx) {
		if d.IsFinished() {
			continue
		}
		counts[stateOf(d, now)]++
		if d.CreationTimestamp.Time.Before(oldest) {
			oldest = d.CreationTimestamp.Time
		}
	}
	for _, s := range states {
		gauge(pendingDesc, float64(counts[s]), string(s))
	}
	gauge(oldestDesc, now.Sub(oldest).Seconds())
	queued := p.r.lanes.Snapshot()
	gauge(parkedDesc, float64(queued.Parked))
	if queued.Parked > 0 {
		gauge(parkedAgeDesc, now.Sub(queued.OldestParked).Seconds())
	} else {
		gauge(parkedAgeDesc, 0)
	}
	unwritten, inFlight := p.r.ledger.load()
	gauge(inFlightDesc, float64(inFlight))
	gauge(unwrittenDesc, float64(unwritten))
}
