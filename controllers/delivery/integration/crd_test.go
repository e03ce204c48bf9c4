// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/controllers/delivery"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

// TestCheckCRD asks an API server of its own for what the manager checks at its start, while the CRD is upgraded.
func TestCheckCRD(t *testing.T) {
	t.Parallel()
	bare := startBare(t)
	crd := filepath.Join(operator.Root(), "config", "crd", "bases", "webhookdelivery.dev_webhookdeliveries.yaml")
	for _, step := range []struct {
		name, crd, want string
	}{
		{"no CRD", "", "the CRD of WebhookDelivery is not installed: apply config/crd: "},
		{"one without selectable fields", withoutSelectableFields(t, crd),
			"the installed CRD is older than this operator: apply the one that was released with it: "},
		{"the shipped one", crd, ""},
	} {
		if step.crd != "" {
			if err := bare.Apply(t.Context(), step.crd); err != nil {
				t.Fatal(err)
			}
		}
		// The API server takes a moment to serve what it has established.
		var got string
		err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true,
			func(context.Context) (bool, error) {
				got = check(t, bare.Config())
				return (step.want == "") == (got == "") && strings.HasPrefix(got, step.want), nil
			})
		if err != nil {
			t.Errorf("with %s: %q, want %q", step.name, got, step.want)
		}
	}
}

// startBare starts a control plane for one test, with nothing in it.
func startBare(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	bare, err := controlplane.Start(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bare.Stop(); err != nil {
			t.Error(err)
		}
	})
	return bare
}

// check returns what CheckCRD complains of to a process that starts now.
func check(t *testing.T, config *rest.Config) string {
	t.Helper()
	live, err := client.New(config, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delivery.CheckCRD(t.Context(), live, nil); err != nil {
		return err.Error()
	}
	return ""
}

// withoutSelectableFields writes a copy of the CRD as an early version would have been.
func withoutSelectableFields(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		t.Fatal(err)
	}
	for _, version := range crd.Spec["versions"].([]any) { //nolint:forcetypeassert // or the test fails
		delete(version.(map[string]any), "selectableFields") //nolint:forcetypeassert // or the test fails
	}
	if raw, err = yaml.Marshal(crd); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "crd.yaml")
	if err := os.WriteFile(old, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return old
}
