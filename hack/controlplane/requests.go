// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/discovery"
)

const requestTotal = "apiserver_request_total"

// Requests returns how many requests the API server has answered since it started, by verb and resource, whatever the
// user and the answer: "POST webhookdeliveries", "PATCH webhookdeliveries/status", "GET secrets", "LIST pods". Take the
// difference of two calls to count what a piece of work cost. A watch counts when it ends.
func (c *ControlPlane) Requests(ctx context.Context) (map[string]float64, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.admin)
	if err != nil {
		return nil, fmt.Errorf("counting requests: %w", err)
	}
	body, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting requests: %w", err)
	}
	return parseRequests(body)
}

// parseRequests looks at one metric only: parsing all of them takes the better part of a second.
func parseRequests(body []byte) (map[string]float64, error) {
	var lines bytes.Buffer
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte(requestTotal+"{")) {
			lines.Write(line)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bufio.NewReader(&lines))
	if err != nil {
		return nil, fmt.Errorf("counting requests: %w", err)
	}
	counts := map[string]float64{}
	for _, metric := range families[requestTotal].GetMetric() {
		labels := map[string]string{}
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		if labels["resource"] == "" {
			continue // discovery, health checks, metrics
		}
		key := labels["verb"] + " " + labels["resource"]
		if labels["subresource"] != "" {
			key += "/" + labels["subresource"]
		}
		counts[key] += metric.GetUntyped().GetValue()
	}
	return counts, nil
}
