// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// The metrics. docs/metrics.md says what each of them tells. Every label has a closed set of values, which its metric's
// comment lists, and every series of a counter is there from the start: a rate misses the first increase of one that
// appears with it.
var (
	// attemptsTotal counts recorded attempts. result: Delivered, or a reason of a failed attempt, as classReasons has
	// them: UnexpectedStatus, RedirectRefused, Timeout, DNSError, ConnectionFailed, TLSError, InvalidResponse, ProxyError.
	attemptsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_attempts_total",
		Help: "Attempts that were made and recorded, by result.",
	}, []string{"result"})
	// attemptSeconds measures the requests.
	attemptSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "webhookdelivery_attempt_duration_seconds",
		Help:    "Time from the start of an attempt to its response header or failure.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	})
	// finishedTotal counts deliveries that ended. phase: Delivered, Undeliverable. reason: Succeeded, or one of
	// undeliverableReasons: RetriesExhausted, AddressDenied, InsecureURL, InvalidURL, SecretUnavailable, PayloadTooLarge,
	// Expired.
	finishedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_finished_total",
		Help: "Deliveries that became Delivered or Undeliverable, by reason.",
	}, []string{"phase", "reason"})
	// deliveredSeconds measures what users wait for. metadata.creationTimestamp has a resolution of a second.
	deliveredSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "webhookdelivery_delivered_after_seconds",
		Help: "Time from the creation of a delivery, or the request to deliver it again, to the end of the attempt that " +
			"succeeded.",
		Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000},
	})
	// lateSeconds measures how long after its due time a retry started that nothing but the operator held up.
	lateSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "webhookdelivery_retry_lateness_seconds",
		Help:    "Time from when a retry was due to when it started.",
		Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 5, 10, 60, 600},
	})
	// staleTotal counts objects that were not acted on because the cache was older than an own write.
	staleTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "webhookdelivery_stale_cache_skips_total",
		Help: "Reconciliations put off because the cache was older than the operator's own last write.",
	})
	// writeErrorsTotal counts status writes that failed. kind: conflict, refused, gone, error.
	writeErrorsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_status_write_errors_total",
		Help: "Status writes that failed, by kind: conflict, refused, gone or error.",
	}, []string{"kind"})
	// duplicatesTotal counts attempts found to have been made by another process too.
	duplicatesTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "webhookdelivery_duplicate_attempts_total",
		Help: "Attempts that turned out to have been made by another process too.",
	})
	leftOut = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "webhookdelivery_namespaces_left_out",
		Help: "Namespaces of --namespaces in which the operator may not list deliveries.",
	})
	// heldBackTotal counts attempts put off. cause: unwritten, forbidden, lease.
	heldBackTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_held_back_total",
		Help: "Attempts put off because too many outcomes are unwritten or the lease is running out.",
	}, []string{"cause"})
	// connectionsTotal counts the connections that requests were given. use: opened, reused.
	connectionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_receiver_connections_total",
		Help: "Connections that requests were given, by use: opened for them, or reused after an earlier request.",
	}, []string{"use"})
	// buildInfo is always 1. version: that of the operator.
	buildInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "webhookdelivery_build_info",
		Help: "Always 1; its label is the version of the operator.",
	}, []string{"version"})
)

// Kinds of status writes that fail.
const (
	// writeConflict: the object was changed by others in the meantime.
	writeConflict = "conflict"
	// writeRefused: the API server will not store this status.
	writeRefused = "refused"
	// writeGone: the object does not exist any more.
	writeGone = "gone"
	// writeError: anything else; the write is repeated.
	writeError = "error"
)

// Causes for putting an attempt off.
const (
	// heldBackUnwritten: --max-unwritten outcomes wait to be written.
	heldBackUnwritten = "unwritten"
	// heldBackForbidden: the operator lacks the right to write outcomes in that namespace.
	heldBackForbidden = "forbidden"
	// heldBackLease: the lease may end before the request.
	heldBackLease = "lease"
)

// Uses of a connection.
const (
	connectionOpened = "opened"
	connectionReused = "reused"
)

// undeliverableReasons are how a delivery can end that is not delivered.
var undeliverableReasons = []v1alpha1.Reason{
	v1alpha1.ReasonRetriesExhausted, v1alpha1.ReasonAddressDenied, v1alpha1.ReasonInsecureURL, v1alpha1.ReasonInvalidURL,
	v1alpha1.ReasonSecretUnavailable, v1alpha1.ReasonPayloadTooLarge, v1alpha1.ReasonExpired,
}

func init() {
	metrics.Registry.MustRegister(attemptsTotal, attemptSeconds, finishedTotal, deliveredSeconds, lateSeconds,
		staleTotal, writeErrorsTotal, duplicatesTotal, heldBackTotal, leftOut, connectionsTotal, buildInfo)
	attemptsTotal.WithLabelValues(string(v1alpha1.PhaseDelivered))
	for class, reason := range classReasons {
		if class.IsAttempt() {
			attemptsTotal.WithLabelValues(string(reason))
		}
	}
	finishedTotal.WithLabelValues(string(v1alpha1.PhaseDelivered), string(v1alpha1.ReasonSucceeded))
	for _, reason := range undeliverableReasons {
		finishedTotal.WithLabelValues(string(v1alpha1.PhaseUndeliverable), string(reason))
	}
	for _, kind := range []string{writeConflict, writeRefused, writeGone, writeError} {
		writeErrorsTotal.WithLabelValues(kind)
	}
	for _, cause := range []string{heldBackUnwritten, heldBackForbidden, heldBackLease} {
		heldBackTotal.WithLabelValues(cause)
	}
	for _, use := range []string{connectionOpened, connectionReused} {
		connectionsTotal.WithLabelValues(use)
	}
}

// SetVersion tells the metrics which version of the operator runs.
func SetVersion(version string) { buildInfo.WithLabelValues(version).Set(1) }

// CountConnection counts a connection that a request was given: see sender.Config.
func CountConnection(reused bool) {
	use := connectionOpened
	if reused {
		use = connectionReused
	}
	connectionsTotal.WithLabelValues(use).Inc()
}

// observeAttempt counts an attempt of d, as it was before, once it is recorded.
func observeAttempt(d *v1alpha1.WebhookDelivery, a attempt) {
	result := string(a.Reason)
	if a.delivered {
		result = string(v1alpha1.PhaseDelivered)
		deliveredSeconds.Observe(a.end().Sub(wantedSince(d)).Seconds())
	}
	attemptsTotal.WithLabelValues(result).Inc()
	attemptSeconds.Observe((time.Duration(a.DurationMilliseconds) * time.Millisecond).Seconds())
	if due := d.Status.NextAttemptTime; due != nil && d.Status.WaitingSince == nil &&
		waitReason(d) != v1alpha1.ReasonSuspended {
		lateSeconds.Observe(max(0, a.StartTime.Sub(due.Time).Seconds()))
	}
}

// observeFinish counts a delivery that has ended.
func observeFinish(s *v1alpha1.WebhookDeliveryStatus) {
	reason, _ := final(s)
	finishedTotal.WithLabelValues(string(s.Phase), string(reason)).Inc()
}
