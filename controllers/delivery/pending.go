// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// state says what a delivery that has not ended is waiting for. It is in one state at a time.
type state string

const (
	stateDue       state = "due"       // its attempt may be made now
	stateParked    state = "parked"    // its attempt may be made, but all slots of its endpoint or namespace are taken
	stateInFlight  state = "in_flight" // its request is under way, or came to an end that is not recorded yet
	stateWaiting   state = "waiting"   // its next attempt lies in the future
	stateSecret    state = "secret"    // a Secret is missing or unusable
	stateSuspended state = "suspended" // spec.suspend is set
)

var states = []state{stateDue, stateParked, stateInFlight, stateWaiting, stateSecret, stateSuspended}

// stateOf tells the state of d, which has not ended.
func (r *Reconciler) stateOf(d *v1alpha1.WebhookDelivery, now time.Time) state {
	key := types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
	switch {
	case r.ledger.isInFlight(key):
		return stateInFlight
	case r.lanes.IsParked(key):
		return stateParked
	case d.Spec.Suspend:
		return stateSuspended
	case d.Status.WaitingSince != nil:
		return stateSecret
	case d.Status.NextAttemptTime != nil && d.Status.NextAttemptTime.After(now):
		return stateWaiting
	}
	return stateDue
}

// wantedSince is when someone began to wait for d: at its creation or, if it is delivered again, when that was
// accepted, which is when its conditions last changed.
func wantedSince(d *v1alpha1.WebhookDelivery) time.Time {
	since := d.CreationTimestamp.Time
	if d.Status.Redeliveries > 0 {
		for _, c := range d.Status.Conditions {
			since = latest(since, c.LastTransitionTime.Time)
		}
	}
	return since
}

// The gauges of what there is to do. state: due, parked, in_flight, waiting, secret, suspended.
var (
	pendingDesc = prometheus.NewDesc("webhookdelivery_pending",
		"Deliveries that have not ended, by state: due, parked, in_flight, waiting, secret or suspended. Only the leader "+
			"has any.", []string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("webhookdelivery_oldest_pending_age_seconds",
		"Age of the oldest delivery in that state that has not ended; 0 if there is none.", []string{"state"}, nil)
	parkedAgeDesc = prometheus.NewDesc("webhookdelivery_parked_oldest_seconds",
		"How long the delivery that has waited longest for a slot has done so; 0 if there is none.", nil, nil)
	inFlightDesc = prometheus.NewDesc("webhookdelivery_requests_in_flight",
		"Requests that have been started and whose outcome is not recorded yet.", nil, nil)
	unwrittenDesc = prometheus.NewDesc("webhookdelivery_unwritten_outcomes",
		"Outcomes of attempts that have not been written to the API server yet.", nil, nil)
)

// pending collects what there is to do at the moment of a scrape, from the cache, the lanes and the ledger. Nothing is
// counted while deliveries are made.
type pending struct{ r *Reconciler }

// Describe implements prometheus.Collector.
func (p pending) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{pendingDesc, oldestDesc, parkedAgeDesc, inFlightDesc, unwrittenDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (p pending) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	all, err := p.r.cached()
	if err != nil {
		out <- prometheus.NewInvalidMetric(pendingDesc, err) // fails the scrape: zeros would tell that all is well
		return
	}
	now := time.Now()
	counts, oldest := map[state]int{}, map[state]time.Duration{}
	for _, d := range all {
		if d.IsFinished() {
			continue
		}
		s := p.r.stateOf(d, now)
		counts[s]++
		oldest[s] = max(oldest[s], now.Sub(wantedSince(d)))
	}
	for _, s := range states {
		gauge(pendingDesc, float64(counts[s]), string(s))
		gauge(oldestDesc, oldest[s].Seconds(), string(s))
	}
	var parked time.Duration
	if queued := p.r.lanes.Snapshot(); queued.Parked > 0 {
		parked = now.Sub(queued.OldestParked)
	}
	gauge(parkedAgeDesc, parked.Seconds())
	unwritten, inFlight := p.r.ledger.load()
	gauge(inFlightDesc, float64(inFlight))
	gauge(unwrittenDesc, float64(unwritten))
}
