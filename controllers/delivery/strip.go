// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// maxCachedPayload is the largest payload that is kept in memory, in bytes. Larger ones are read before they are sent.
const maxCachedPayload = 16 << 10

// strip takes out of an object what the controller does not need in memory. kubectl's last-applied-configuration is
// among the annotations: a second copy of the payload.
func strip(object any) (any, error) {
	if d, ok := object.(*v1alpha1.WebhookDelivery); ok {
		lighten(d)
	}
	return object, nil
}

// lighten leaves of an object what a waiting delivery has to have, with one copy of what many of them say.
func lighten(d *v1alpha1.WebhookDelivery) {
	d.TypeMeta = metav1.TypeMeta{}
	d.ManagedFields = nil
	d.Annotations = nil
	d.OwnerReferences = nil
	if value, ok := d.Labels[v1alpha1.LabelRedeliver]; ok {
		d.Labels = map[string]string{v1alpha1.LabelRedeliver: value}
	} else {
		d.Labels = nil
	}
	if len(d.Spec.Payload.Raw) > maxCachedPayload {
		d.Spec.Payload.Raw = nil
	}
	share(&d.Namespace)
	for i := range d.Status.Conditions {
		c := &d.Status.Conditions[i]
		share(&c.Type)
		share(&c.Status)
		share(&c.Reason)
		share(&c.Message)
	}
	for i := range d.Status.Attempts {
		share(&d.Status.Attempts[i].Reason)
		share(&d.Status.Attempts[i].Message)
	}
}

// share lets all objects that say the same have one copy of it.
func share[S ~string](s *S) { *s = unique.Make(*s).Value() }
