// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

var (
	// deletedTotal counts what retention deleted. phase: Delivered, Undeliverable.
	deletedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_retention_deleted_total",
		Help: "Finished deliveries that were deleted because their time was over, by phase.",
	}, []string{"phase"})
	// errorsTotal counts what the API server did not do. operation: list, once for a sweep; delete, once for
	// an object.
	errorsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_retention_errors_total",
		Help: "Lists and deletes of finished deliveries that failed; the next sweep tries again.",
	}, []string{"operation"})
	// overdueSeconds is set by each sweep that has listed everything.
	overdueSeconds = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "webhookdelivery_retention_overdue_seconds",
		Help: "How long the finished delivery that should have been deleted first was overdue when the last sweep began; " +
			"0 if none was.",
	})
	// sweepSeconds measures the lists, complete or not.
	sweepSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "webhookdelivery_retention_sweep_duration_seconds",
		Help:    "Time to list the finished deliveries, once every --retention-interval.",
		Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
	})
)

// Operations of retention.
const (
	operationList   = "list"
	operationDelete = "delete"
)

func init() {
	metrics.Registry.MustRegister(deletedTotal, errorsTotal, overdueSeconds, sweepSeconds)
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseDelivered, v1alpha1.PhaseUndeliverable} {
		deletedTotal.WithLabelValues(string(phase))
	}
	for _, operation := range []string{operationList, operationDelete} {
		errorsTotal.WithLabelValues(operation)
	}
}
