// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/task"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

// api is an administrator's client of a real API server.
var api client.Client

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	plane, err := controlplane.Start(context.Background(), controlplane.Options{})
	if err == nil {
		defer func() {
			if err := plane.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		err = connect(plane)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func connect(plane *controlplane.ControlPlane) error {
	for _, path := range []string{"../../../config/crd", "crd.yaml"} {
		if err := plane.Apply(context.Background(), path); err != nil {
			return err
		}
	}
	scheme := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(scheme)
	var err error
	api, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	return err
}

// stored stores an Imagine with a webhook and a status.
func stored(t *testing.T, name string, spec, status map[string]any) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(imagine)
	o.SetNamespace(metav1.NamespaceDefault)
	o.SetName(name)
	if err := api.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Object["status"] = status
	if err := api.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func reconcileOnce(t *testing.T, o client.Object) {
	t.Helper()
	_, err := reconciler{api}.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
	if err != nil {
		t.Fatal(err)
	}
}

// deliveryOf returns the task's delivery, or nil.
func deliveryOf(t *testing.T, o client.Object) *v1alpha1.WebhookDelivery {
	t.Helper()
	d := &v1alpha1.WebhookDelivery{}
	err := api.Get(t.Context(), client.ObjectKey{Namespace: o.GetNamespace(), Name: task.Name(o)}, d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeliveries(t *testing.T) {
	webhook := map[string]any{"prompt": "a castle", "webhookURL": "https://your-server.example/webhook",
		"webhookSecretName": "webhook"}
	for name, tc := range map[string]struct {
		spec, status map[string]any
		want         string // the payload, with UID for the task's
	}{
		"finished": {webhook, map[string]any{"state": "finished", "imageURLs": []any{"https://cdn.example/0.png"}},
			`{"image_urls":["https://cdn.example/0.png"],"percentage":"100","status":"finished","task_id":"%s",` +
				`"task_type":"imagine"}`},
		"failed": {webhook, map[string]any{"state": "failed", "error": "Content policy violation"},
			`{"error":"Content policy violation","status":"failed","task_id":"%s","task_type":"imagine"}`},
		"running":    {webhook, map[string]any{"state": "running"}, ""},
		"no-webhook": {map[string]any{"prompt": "a castle"}, map[string]any{"state": "finished"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := stored(t, name, tc.spec, tc.status)
			reconcileOnce(t, o)
			d := deliveryOf(t, o)
			if tc.want == "" {
				if d != nil {
					t.Errorf("delivered %s", d.Spec.Payload.Raw)
				}
				return
			}
			if d == nil {
				t.Fatal("there is no delivery")
			}
			if diff := cmp.Diff(fmt.Sprintf(tc.want, o.GetUID()), string(d.Spec.Payload.Raw)); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			if !metav1.IsControlledBy(d, o) || d.Spec.SecretRef.Name != "webhook" || d.Spec.URL != tc.spec["webhookURL"] {
				t.Errorf("owners %v, spec %v", d.OwnerReferences, d.Spec)
			}
		})
	}
}

// TestApplyingAgainChangesNothing crashes between the two writes, and comes back after the delivery was deleted.
func TestApplyingAgainChangesNothing(t *testing.T) {
	o := stored(t, "again", map[string]any{"prompt": "x", "webhookURL": "https://r.example", "webhookSecretName": "s"},
		map[string]any{"state": "finished", "imageURLs": []any{"<&>"}})
	reconcileOnce(t, o)
	first := deliveryOf(t, o)
	// The API server stores the status that the CRD has for new objects not with the first write but with the second,
	// whoever makes it. That is the one change of resourceVersion; nothing else changes.
	again(t, o)
	second := deliveryOf(t, o)
	if diff := cmp.Diff(first, second, cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
		t.Errorf("applied twice (-first +second):\n%s", diff)
	}
	again(t, o)
	if diff := cmp.Diff(second, deliveryOf(t, o)); diff != "" {
		t.Errorf("applied once more (-second +third):\n%s", diff)
	}
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRetrying, v1alpha1.PhaseDelivered} {
		d := deliveryOf(t, o)
		d.Status.Phase = phase // as the operator does, under a name of its own
		if err := api.Status().Update(t.Context(), d, client.FieldOwner("operator")); err != nil {
			t.Fatal(err)
		}
		again(t, o)
		if diff := cmp.Diff(d, deliveryOf(t, o)); diff != "" {
			t.Errorf("applied while %s (-before +after):\n%s", phase, diff)
		}
	}
	if err := api.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	reconcileOnce(t, o)
	if deliveryOf(t, o) != nil {
		t.Error("a deleted delivery was made again")
	}
}

// again reconciles the task as if the note that its delivery was created had been lost.
func again(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	forget := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
	if err := api.Patch(t.Context(), o, forget); err != nil {
		t.Fatal(err)
	}
	reconcileOnce(t, o)
}
