// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// TestRestored brings a delivered object back as tools do that know its manifest and not its status: Velero, which
// creates what the backup holds, and Argo CD with Replace=true, which is kubectl replace, with Force=true as well
// kubectl replace --force.
func TestRestored(t *testing.T) {
	tests := map[string]struct {
		expires bool
		restore func(t *testing.T, manifest string, d *v1alpha1.WebhookDelivery)
		phase   v1alpha1.Phase
		sent    int // requests with the webhook-id of what is there in the end
	}{
		"created again":          {false, deleteAndCreate, v1alpha1.PhaseDelivered, 1},
		"created again late":     {true, deleteAndCreate, v1alpha1.PhaseUndeliverable, 0},
		"replaced by force":      {false, replaceByForce, v1alpha1.PhaseDelivered, 1},
		"replaced by force late": {true, replaceByForce, v1alpha1.PhaseUndeliverable, 0},
		"replaced":               {false, replace, v1alpha1.PhaseDelivered, 1},
		"replaced late":          {true, replace, v1alpha1.PhaseDelivered, 1},
		"applied again":          {false, apply, v1alpha1.PhaseDelivered, 1},
		"applied again late":     {true, apply, v1alpha1.PhaseDelivered, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := makeDelivery("restored-"+strings.ReplaceAll(name, " ", "-"), "/ok")
			d.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "WebhookDelivery"}
			deadline := metav1.NewTime(time.Now().Add(5 * time.Second).Truncate(time.Second))
			if tc.expires {
				d.Spec.DeliverBefore = &deadline
			}
			manifest := writeManifest(t, d)
			create(t, d)
			first := waitFor(t, d.Name, finished)
			if !first.IsDelivered() {
				t.Fatalf("status %+v", first.Status)
			}
			if tc.expires {
				waitUntilPast(t, d.Name+"-clock", deadline)
			}
			tc.restore(t, manifest, first)
			restored := waitFor(t, d.Name, finished)
			if restored.Status.Phase != tc.phase || len(requests(restored)) != tc.sent {
				t.Errorf("%d requests, want %d; status %+v", len(requests(restored)), tc.sent, restored.Status)
			}
			if got := len(requests(first)); got != 1 {
				t.Errorf("%d requests with the first webhook-id", got)
			}
			if tc.phase == v1alpha1.PhaseUndeliverable && !because(v1alpha1.ReasonExpired)(restored) {
				t.Errorf("conditions %+v", restored.Status.Conditions)
			}
		})
	}
}

// writeManifest writes d as it stands in Git or in a backup: without what the API server and the operator add.
func writeManifest(t *testing.T, d *v1alpha1.WebhookDelivery) string {
	t.Helper()
	raw, err := yaml.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitUntilPast waits for a delivery that is only there to expire.
func waitUntilPast(t *testing.T, name string, deadline metav1.Time) {
	t.Helper()
	clock := makeDelivery(name, "/ok")
	clock.Spec.Suspend, clock.Spec.DeliverBefore = true, &deadline
	create(t, clock)
	clock = waitFor(t, name, finished)
	if len(requests(clock)) != 0 || !because(v1alpha1.ReasonExpired)(clock) {
		t.Errorf("%d requests while suspended; status %+v", len(requests(clock)), clock.Status)
	}
}

func deleteAndCreate(t *testing.T, manifest string, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	kubectl(t, "delete", "whd", d.Name)
	kubectl(t, "create", "-f", manifest)
	isAnother(t, d)
}

func replaceByForce(t *testing.T, manifest string, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	kubectl(t, "replace", "--force", "-f", manifest)
	isAnother(t, d)
}

// isAnother fails the test unless the object of d's name has another UID, and with it another webhook-id.
func isAnother(t *testing.T, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	if now := waitFor(t, d.Name, finished); now.UID == d.UID {
		t.Errorf("%s is still the object that was delivered", d.Name)
	}
}

func replace(t *testing.T, manifest string, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	kubectl(t, "replace", "-f", manifest)
	isUntouched(t, d)
}

func apply(t *testing.T, manifest string, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", manifest)
	isUntouched(t, d)
}

// isUntouched fails the test unless d is as it was, and stays so while another is delivered.
func isUntouched(t *testing.T, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	marker := makeDelivery(d.Name+"-marker", "/ok")
	create(t, marker)
	waitFor(t, marker.Name, finished)
	now := waitFor(t, d.Name, finished)
	if now.UID != d.UID || now.Generation != d.Generation || !now.Status.CompletionTime.Equal(d.Status.CompletionTime) {
		t.Errorf("was %+v, is %+v", d, now)
	}
}
