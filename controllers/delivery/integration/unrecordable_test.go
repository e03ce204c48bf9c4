// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// TestUnrecordable makes deliveries whose status the API server does not store: the schedule ends all the same, and
// the owner is told once.
func TestUnrecordable(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T) *v1alpha1.WebhookDelivery{
		"too large for etcd":    tooLarge,
		"forbidden by a policy": forbidden,
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := prepare(t)
			until(t, "the schedule", func() error {
				if n := len(requests(d)); n < 4 {
					return fmt.Errorf("%d requests", n)
				}
				return nil
			})
			until(t, "the end", func() error {
				if got := described(t, d.Name); len(got) < 2 {
					return fmt.Errorf("events:\n%s", strings.Join(got, "\n"))
				}
				return nil
			})
			marker := makeDelivery("marker-of-"+d.Name, "/status/500")
			create(t, marker)
			waitFor(t, marker.Name, finished) // by then another round would have been made
			if n := len(requests(d)); n != 4 {
				t.Errorf("%d requests, want 4", n)
			}
			var reasons []string
			for _, event := range described(t, d.Name) {
				reasons = append(reasons, strings.Fields(event)[1])
			}
			if diff := cmp.Diff([]string{"StatusRefused", "RetriesExhausted"}, reasons); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			stored := waitFor(t, d.Name, func(*v1alpha1.WebhookDelivery) bool { return true })
			if stored.Status.Phase != v1alpha1.PhasePending {
				t.Errorf("the status was stored: %+v", stored.Status)
			}
		})
	}
}

// tooLarge creates the largest delivery that etcd takes, to within fewer bytes than a status has.
func tooLarge(t *testing.T) *v1alpha1.WebhookDelivery {
	t.Helper()
	fits, tooMuch := 1_000_000, 2_000_000
	for tooMuch-fits > 100 {
		size := (fits + tooMuch) / 2
		d := makeLarge(fmt.Sprint("tried-", size), "/ok/1234567", size)
		err := cluster.Create(t.Context(), d)
		switch {
		case err == nil:
			fits = size
			if err := cluster.Delete(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		case strings.Contains(err.Error(), "etcdserver: request is too large"):
			tooMuch = size
		default:
			t.Fatal(err)
		}
	}
	d := makeLarge(fmt.Sprint("large-", fits), "/status/500", fits) // with names and paths as long as above
	create(t, d)
	return d
}

func makeLarge(name, path string, size int) *v1alpha1.WebhookDelivery {
	d := makeDelivery(name, path)
	d.Spec.Payload, _ = payload.New(map[string]string{"task_id": name, "result": strings.Repeat("x", size)})
	return d
}

// forbidden creates a delivery whose status a policy lets nobody write.
func forbidden(t *testing.T) *v1alpha1.WebhookDelivery {
	t.Helper()
	rule := admissionv1.NamedRuleWithOperations{}
	rule.APIGroups, rule.APIVersions = []string{v1alpha1.GroupVersion.Group}, []string{v1alpha1.GroupVersion.Version}
	rule.Resources, rule.Operations = []string{"webhookdeliveries/status"}, []admissionv1.OperationType{admissionv1.Update}
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "status.test"}}
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{rule}}
	policy.Spec.Validations = []admissionv1.Validation{{Expression: "!object.metadata.name.startsWith('forbidden-')"}}
	create(t, policy)
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "status.test"}}
	binding.Spec.PolicyName = policy.Name
	binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	create(t, binding)
	probe := makeDelivery("forbidden-probe", "/ok")
	create(t, probe)
	until(t, "the policy", func() error {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"redeliveries":1}}`))
		err := cluster.Status().Patch(t.Context(), probe, patch, client.DryRunAll)
		if err == nil {
			return errors.New("it is not in force")
		}
		return nil
	})
	d := makeDelivery("forbidden-status", "/status/500")
	create(t, d)
	return d
}
