// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// managerMetrics are what a manager tells of itself.
type managerMetrics struct {
	// writes and reads count its requests of the API server, its lease's renewals included. A watch is one read.
	writes, reads float64
	// heapBytes is the size of the objects on its heap, those included that are garbage but not yet collected.
	heapBytes float64
}

func (m managerMetrics) since(before managerMetrics) managerMetrics {
	return managerMetrics{
		writes: m.writes - before.writes, reads: m.reads - before.reads, heapBytes: m.heapBytes - before.heapBytes,
	}
}

// managerMetrics asks the manager for its metrics.
func (c *cluster) managerMetrics(ctx context.Context) (m managerMetrics, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.manager.MetricsURL(), nil)
	if err != nil {
		return m, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return m, fmt.Errorf("the manager's metrics: %w", err)
	}
	defer response.Body.Close()
	return parseManagerMetrics(response.Body)
}

func parseManagerMetrics(text io.Reader) (m managerMetrics, err error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return m, fmt.Errorf("the manager's metrics: %w", err)
	}
	for _, metric := range families["rest_client_requests_total"].GetMetric() {
		method := ""
		for _, label := range metric.GetLabel() {
			if label.GetName() == "method" {
				method = label.GetValue()
			}
		}
		if method == http.MethodGet {
			m.reads += metric.GetCounter().GetValue()
		} else {
			m.writes += metric.GetCounter().GetValue()
		}
	}
	for _, metric := range families["go_memstats_heap_alloc_bytes"].GetMetric() {
		m.heapBytes = metric.GetGauge().GetValue()
	}
	return m, nil
}
