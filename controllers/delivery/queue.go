// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// enqueuer puts every object that an event is about into the queue, all with the same priority: those of the initial
// list, too, which would otherwise starve under load.
type enqueuer struct{}

func (enqueuer) Create(_ context.Context, e event.TypedCreateEvent[*v1alpha1.WebhookDelivery], q queue) {
	add(q, e.Object)
}

// Update leaves out what changed nothing but the status: only this controller writes it, and it has planned already.
func (enqueuer) Update(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.WebhookDelivery], q queue) {
	old, current := e.ObjectOld, e.ObjectNew
	if old.ResourceVersion == current.ResourceVersion || old.UID != current.UID ||
		old.Generation != current.Generation || isLabelled(old) != isLabelled(current) ||
		old.DeletionTimestamp.IsZero() != current.DeletionTimestamp.IsZero() {
		add(q, current)
	}
}

// Delete also comes when a final status has taken the object out of the cache.
func (enqueuer) Delete(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.WebhookDelivery], q queue) {
	add(q, e.Object)
}

func (enqueuer) Generic(_ context.Context, e event.TypedGenericEvent[*v1alpha1.WebhookDelivery], q queue) {
	add(q, e.Object)
}

func add(q queue, o client.Object) {
	q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}})
}
