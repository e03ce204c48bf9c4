// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// t0 is when everything begins in table tests.
var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// deliveryBuilder makes the objects of tests.
type deliveryBuilder struct{ d v1alpha1.WebhookDelivery }

func makeDelivery(name string) *deliveryBuilder {
	b := &deliveryBuilder{}
	b.d.Namespace, b.d.Name, b.d.UID, b.d.Generation = "tasks", name, types.UID("uid-"+name), 1
	b.d.Spec.URL = "http://receiver.test:8080/ok"
	b.d.Spec.Payload, _ = payload.New(map[string]string{"task_id": name, "status": "finished"})
	b.d.Status = v1alpha1.WebhookDeliveryStatus{Phase: v1alpha1.PhasePending, ObservedGeneration: -1}
	return b
}

// failed adds n failed attempts, the last of which ended at end with code, and the given next attempt.
func (b *deliveryBuilder) failed(n int, end time.Time, code int32, next time.Time) *deliveryBuilder {
	for i := range n {
		start := end.Add(time.Duration(i-n+1)*time.Second - 100*time.Millisecond)
		b.d.Status.Attempts = append(b.d.Status.Attempts, v1alpha1.Attempt{
			Number: int32(i + 1), StartTime: metav1.NewMicroTime(start), DurationMilliseconds: 100,
			StatusCode: code, Reason: v1alpha1.ReasonUnexpectedStatus, Message: "503 Service Unavailable",
		})
	}
	if !next.IsZero() {
		b.d.Status.NextAttemptTime = &metav1.MicroTime{Time: next}
	}
	settle(&b.d.Status, &b.d, v1alpha1.PhaseRetrying, v1alpha1.ReasonRetrying, "", end)
	return b
}

func (b *deliveryBuilder) waiting(reason v1alpha1.Reason, since time.Time) *deliveryBuilder {
	b.d.Status = afterNote(&b.d, step{reason: reason}, since)
	return b
}

func (b *deliveryBuilder) with(change func(*v1alpha1.WebhookDelivery)) *deliveryBuilder {
	change(&b.d)
	return b
}

func (b *deliveryBuilder) suspended() *deliveryBuilder {
	return b.with(func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = true })
}

func (b *deliveryBuilder) before(deadline time.Time) *deliveryBuilder {
	return b.with(func(d *v1alpha1.WebhookDelivery) { d.Spec.DeliverBefore = &metav1.Time{Time: deadline} })
}

func (b *deliveryBuilder) phase(p v1alpha1.Phase) *deliveryBuilder {
	return b.with(func(d *v1alpha1.WebhookDelivery) { d.Status.Phase = p })
}

func (b *deliveryBuilder) obj() *v1alpha1.WebhookDelivery { return b.d.DeepCopy() }
