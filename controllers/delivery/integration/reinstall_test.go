// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

// TestCRDIsReinstalled takes the CRD away while a delivery waits for its second attempt, and with it the delivery, and
// brings it back: the manager goes on by itself, and sends nothing of what is gone.
func TestCRDIsReinstalled(t *testing.T) {
	t.Parallel()
	s := newStage(t, controlplane.Options{})
	manager := s.startManager("manager", "--retry-schedule=5s")
	if err := manager.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := makeDelivery("reinstalled-lost", "/status/500")
	if err := s.cluster.Create(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	until(t, "the first attempt", func() error {
		if len(requests(lost)) == 0 {
			return errors.New("no request")
		}
		return nil
	})
	if _, err := s.plane.Kubectl(t.Context(), "delete", "crd", "webhookdeliveries.webhookdelivery.dev"); err != nil {
		t.Fatal(err)
	}
	if err := s.plane.Apply(t.Context(), filepath.Join(operator.Root(), "config", "crd")); err != nil {
		t.Fatal(err)
	}
	found := makeDelivery("reinstalled-found", "/fail-first/1")
	until(t, "the CRD", func() error { return s.cluster.Create(t.Context(), found) })
	until(t, "a delivery under the new CRD", func() error {
		var d v1alpha1.WebhookDelivery
		if err := s.cluster.Get(t.Context(), client.ObjectKeyFromObject(found), &d); err != nil {
			return err
		}
		if !d.IsDelivered() {
			return errors.New("phase " + string(d.Status.Phase))
		}
		return nil
	})
	if n := len(requests(lost)); n != 1 {
		t.Errorf("%d requests of the delivery that went with the CRD, want 1", n)
	}
	if live, ready := probes(t, manager); live != http.StatusOK || ready != http.StatusOK {
		t.Errorf("healthz %d and readyz %d", live, ready)
	}
	_, metrics := get(t, http.DefaultClient, manager.MetricsURL(), "")
	for _, nothing := range []string{"webhookdelivery_unwritten_outcomes 0\n", "webhookdelivery_requests_in_flight 0\n"} {
		if !strings.Contains(metrics, nothing) {
			t.Errorf("no %q in the metrics", nothing)
		}
	}
}
