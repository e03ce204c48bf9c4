// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/e2e/visitor/visit"
)

// answer is a request of the visitor, and the code that it must be answered with.
type answer struct {
	name    string
	request visit.Request
	want    int
}

// ask makes the requests, and returns the responses.
func (s *stage) ask(ctx context.Context, all []answer) (responses []visit.Response, note string, err error) {
	var wrong []error
	for _, a := range all {
		response, err := s.visit(ctx, a.request)
		if err == nil && response.Code != a.want {
			err = fmt.Errorf("answered %d, want %d", response.Code, a.want)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", a.name, err))
		}
		responses = append(responses, response)
		note += fmt.Sprintf("%s %d, ", a.name, response.Code)
	}
	return responses, strings.TrimSuffix(note, ", "), errors.Join(wrong...)
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

// scrape reads the metrics as a monitoring system does, and holds the leader's count of deliveries against the
// receiver's.
func scrape(ctx context.Context, s *stage) (t tally, note string, err error) {
	entitled, stranger, err := s.tokens(ctx)
	if err != nil {
		return t, "", err
	}
	metrics := "https://webhook-delivery-operator-metrics." + system + ".svc:8443/metrics"
	responses, note, err := s.ask(ctx, []answer{
		{"without a token", visit.Request{URL: metrics}, http.StatusUnauthorized},
		{"a stranger's", visit.Request{URL: metrics, Header: bearer(stranger)}, http.StatusForbidden},
		{"a reader's", visit.Request{URL: metrics, Header: bearer(entitled)}, http.StatusOK},
	})
	if err != nil {
		return t, note, err
	}
	if body := responses[len(responses)-1].Body; !strings.Contains(body, "webhookdelivery_build_info{") {
		return t, note, errors.New("there are no metrics of the operator's own")
	}
	leader, err := s.leader(ctx)
	if err != nil {
		return t, note, err
	}
	address := "https://" + net.JoinHostPort(leader.Status.PodIP, "8443") + "/metrics"
	var n int
	err = eventually(ctx, 10*time.Second, func(ctx context.Context) error { // deliveries go on meanwhile
		response, err := s.visit(ctx, visit.Request{URL: address, Header: bearer(entitled)})
		if err != nil {
			return err
		}
		totals, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		n, err = delivered(response.Body)
		if err == nil && n != totals.AcceptedDeliveries {
			err = fmt.Errorf("the leader counts %d deliveries, the receiver %d", n, totals.AcceptedDeliveries)
		}
		return err
	})
	return t, fmt.Sprintf("%s; leader and receiver count %d", note, n), err
}

// delivered is how many deliveries the metrics say have been delivered.
func delivered(text string) (n int, err error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("the metrics: %w", err)
	}
	for _, metric := range families["webhookdelivery_finished_total"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "phase" && label.GetValue() == string(v1alpha1.PhaseDelivered) {
				n += int(metric.GetCounter().GetValue())
			}
		}
	}
	return n, nil
}

// fetchResults fetches a sample's result as a receiver that missed it would.
func fetchResults(ctx context.Context, s *stage) (t tally, note string, err error) {
	entitled, stranger, err := s.tokens(ctx)
	if err != nil {
		return t, "", err
	}
	const task = "550e8400-e29b-41d4-a716-446655440003" // the one of broken-receiver, which was never delivered
	query := url.Values{"task_id": {task}, "namespace": {namespace}}
	get := func(header map[string]string) visit.Request {
		return visit.Request{URL: "https://" + fetchHost + "/fetch?" + query.Encode(), Header: header, CA: s.fetchCA}
	}
	responses, note, err := s.ask(ctx, []answer{
		{"by secret", get(map[string]string{"x-webhook-secret": secret}), http.StatusOK},
		{"by token", get(bearer(entitled)), http.StatusOK},
		{"a wrong secret", get(map[string]string{"x-webhook-secret": "another"}), http.StatusNotFound},
		{"a stranger's token", get(bearer(stranger)), http.StatusNotFound},
		{"nothing", get(nil), http.StatusNotFound},
	})
	if err != nil {
		return t, note, err
	}
	for i, response := range responses[:2] {
		var result struct {
			TaskID string `json:"task_id"`
		}
		if err := json.Unmarshal([]byte(response.Body), &result); err != nil {
			return t, note, fmt.Errorf("response %d: %w", i+1, err)
		}
		phase := response.Header.Get("Webhook-Delivery-Phase")
		if result.TaskID != task || phase != string(v1alpha1.PhaseUndeliverable) {
			return t, note, fmt.Errorf("response %d is %s, phase %s", i+1, response.Body, phase)
		}
	}
	return t, note, nil
}
