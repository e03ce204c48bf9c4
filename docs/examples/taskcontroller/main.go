// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// This example is the last part of a controller of tasks: when an Imagine (crd.yaml) has finished or failed, it has the
// result delivered to the URL that came with the task. It may get, list, watch and patch imagines, and create and patch
// webhookdeliveries.
package main

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/webhookdelivery/operator/api/task"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	apply "github.com/webhookdelivery/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

const (
	fieldOwner = client.FieldOwner("imagine-controller")
	// notified outlives the delivery, which is deleted some time after it has finished. It holds the delivery's name.
	notified = "tasks.example.com/notified"
)

var imagine = schema.GroupVersionKind{Group: "tasks.example.com", Version: "v1", Kind: "Imagine"}

type reconciler struct{ client client.Client }

func (r reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(imagine)
	if err := r.client.Get(ctx, req.NamespacedName, o); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	status := task.Status(text(o, "status", "state")) // its words are those of the payload
	url := text(o, "spec", "webhookURL")
	if status != task.Finished && status != task.Failed || url == "" || o.GetAnnotations()[notified] != "" {
		return ctrl.Result{}, nil
	}
	result := task.Result{Status: status, Error: text(o, "status", "error")}
	if images, ok, _ := unstructured.NestedStringSlice(o.Object, "status", "imageURLs"); ok {
		result.Extra = map[string]any{"image_urls": images}
	}
	d, err := task.Delivery(o, imagine, result,
		task.Target{URL: url, SecretName: text(o, "spec", "webhookSecretName")})
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(err)
	}
	// After a crash between these two writes, the first is made again and changes nothing.
	if err := r.client.Apply(ctx, configuration(d), fieldOwner); err != nil {
		return ctrl.Result{}, err
	}
	patch := client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+notified+`":"`+d.Name+`"}}}`))
	return ctrl.Result{}, client.IgnoreNotFound(r.client.Patch(ctx, o, patch, fieldOwner))
}

// configuration is d as it is applied.
func configuration(d *v1alpha1.WebhookDelivery) *apply.WebhookDeliveryApplyConfiguration {
	owner := d.OwnerReferences[0]
	spec := apply.WebhookDeliverySpec().WithURL(d.Spec.URL).WithPayload(d.Spec.Payload)
	if ref := d.Spec.SecretRef; ref != nil {
		spec.WithSecretRef(apply.SecretKeyReference().WithName(ref.Name))
	}
	return apply.WebhookDelivery(d.Name, d.Namespace).WithSpec(spec).WithOwnerReferences(
		applymetav1.OwnerReference().WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).
			WithName(owner.Name).WithUID(owner.UID).WithController(true))
}

func text(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}

func main() {
	ctrl.SetLogger(zap.New())
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{})
	exitOn(err)
	exitOn(v1alpha1.AddToScheme(mgr.GetScheme()))
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(imagine)
	exitOn(ctrl.NewControllerManagedBy(mgr).For(o).Complete(reconciler{mgr.GetClient()}))
	exitOn(mgr.Start(ctrl.SetupSignalHandler()))
}

func exitOn(err error) {
	if err != nil {
		ctrl.Log.Error(err, "stopped")
		os.Exit(1)
	}
}
