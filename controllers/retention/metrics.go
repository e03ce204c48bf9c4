// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	// deletedTotal counts what retention deleted. phase: Delivered, Undeliverable.
	deletedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhookdelivery_retention_deleted_total",
		Help: "Finished deliveries that were deleted because their time was over, by phase.",
	}, []string{"phase"})
	// sweepSeconds measures the lists, complete or not.
	sweepSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "webhookdelivery_retention_sweep_duration_seconds",
		Help:    "Time to list the finished deliveries, once every --retention-interval.",
		Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
	})
)

func init() {
	metrics.Registry.MustRegister(deletedTotal, sweepSeconds)
}
