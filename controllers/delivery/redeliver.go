// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const (
	// redeliveriesPerSecond and redeliveryBurst bound how quickly requests to deliver again are accepted, for thousands
	// of objects can be labelled at once.
	redeliveriesPerSecond = 50
	redeliveryBurst       = 100
)

func newRedeliveryLimiter() flowcontrol.RateLimiter {
	return flowcontrol.NewTokenBucketRateLimiter(redeliveriesPerSecond, redeliveryBurst)
}

// accept is the first of two writes that turn a label into a round of attempts: it records in status that the request
// was accepted. The second takes the label away. A label that is found with the record is the same request, so a crash
// between the two does not repeat it; no attempt is made before the label is seen to be gone.
func (r *Reconciler) accept(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery, now time.Time,
) (ctrl.Result, error) {
	if !r.redeliveries.TryAccept() {
		return ctrl.Result{RequeueAfter: heldBackRetry}, nil
	}
	log.FromContext(ctx).Info("delivering again", "phase", d.Status.Phase)
	return r.write(ctx, key, d, afterAccept(d, now), staleRetry)
}

// unlabel is the second write: see accept.
func (r *Reconciler) unlabel(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
) (ctrl.Result, error) {
	if r.ledger.isRefused(key) { // until the record is stored, the label is all that tells of the request
		return r.offerAgain(ctx, key, d)
	}
	patching, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	answer := &metav1.PartialObjectMetadata{}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDelivery"))
	answer.Namespace, answer.Name = d.Namespace, d.Name
	patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{%q:null}}}`,
		d.ResourceVersion, v1alpha1.LabelRedeliver)
	err := r.writer.Patch(patching, answer, client.RawPatch(types.MergePatchType, []byte(patch)))
	switch {
	case apierrors.IsConflict(err):
		return r.overtaken(ctx, key, d)
	case isGone(err):
		r.ledger.vanished(key, d)
		return lookAgain(nil)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("removing the label %s: %w", v1alpha1.LabelRedeliver, err)
	}
	r.ledger.wrote(key, d.UID, answer.ResourceVersion)
	return ctrl.Result{RequeueAfter: staleRetry}, nil
}
