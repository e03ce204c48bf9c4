// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// codes are the HTTP statuses of all answers.
var codes = []int{200, 400, 404, 405, 413, 429, 503}

// requestsTotal counts answers. code: 200, 400, 404, 405, 413, 429, 503.
var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "webhookdelivery_fetch_requests_total",
	Help: "Requests of /fetch, by the HTTP status of the answer.",
}, []string{"code"})

func init() {
	metrics.Registry.MustRegister(requestsTotal)
	for _, code := range codes {
		requestsTotal.WithLabelValues(strconv.Itoa(code))
	}
}
