// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/rest"
)

// TestRequestsTakeTheirPriorityLevel sends requests as the operator and reads which flow schema and priority level the
// API server put them in.
func TestRequestsTakeTheirPriorityLevel(t *testing.T) {
	names := map[string]string{} // by UID, which is what the answers carry
	schemas, levels := &flowcontrolv1.FlowSchemaList{}, &flowcontrolv1.PriorityLevelConfigurationList{}
	if err := admin.List(t.Context(), schemas); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), levels); err != nil {
		t.Fatal(err)
	}
	for _, schema := range schemas.Items {
		names[string(schema.UID)] = schema.Name
	}
	for _, level := range levels.Items {
		names[string(level.UID)] = level.Name
	}
	cfg, err := plane.User(operatorUser, operatorGroups...)
	if err != nil {
		t.Fatal(err)
	}
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]string{
		"/apis/coordination.k8s.io/v1/namespaces/webhook-delivery-system/leases/webhook-delivery-operator": {
			"webhook-delivery-leases", "leader-election"},
		"/apis/webhookdelivery.dev/v1alpha1/webhookdeliveries": {"webhook-delivery", "webhook-delivery"},
		"/api/v1/namespaces/tasks/secrets/webhook-secret":      {"webhook-delivery", "webhook-delivery"},
		"/apis": {"webhook-delivery", "webhook-delivery"},
	} {
		t.Run(path, func(t *testing.T) {
			eventually(t, "flow schema and priority level", func(ctx context.Context) error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+path, nil)
				if err != nil {
					return err
				}
				response, err := httpClient.Do(request)
				if err != nil {
					return err
				}
				return errors.Join(response.Body.Close(), difference(want, [2]string{
					names[response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)],
					names[response.Header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)],
				}))
			})
		})
	}
}
