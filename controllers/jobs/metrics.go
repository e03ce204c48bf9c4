// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Results of looking at a Job that has ended.
const (
	resultCreated = "created"
	resultRefused = "refused"
)

// jobsTotal counts Jobs that have ended. result: created, refused. A Job is refused again when its explanation changes.
var jobsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "webhookdelivery_jobs_total",
	Help: "Jobs that have ended, by whether a delivery was created or the Job was annotated with why there is none.",
}, []string{"result"})

func init() {
	metrics.Registry.MustRegister(jobsTotal)
	for _, result := range []string{resultCreated, resultRefused} {
		jobsTotal.WithLabelValues(result)
	}
}
