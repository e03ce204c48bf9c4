// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// IsFinished reports whether the delivery is Delivered or Undeliverable and no attempt will be made any more.
func (d *WebhookDelivery) IsFinished() bool {
	return d.IsDelivered() || d.IsUndeliverable()
}

// IsDelivered reports whether the receiver has answered an attempt with 2xx.
func (d *WebhookDelivery) IsDelivered() bool {
	return d.Status.Phase == PhaseDelivered
}

// IsUndeliverable reports whether the operator has given the delivery up.
func (d *WebhookDelivery) IsUndeliverable() bool {
	return d.Status.Phase == PhaseUndeliverable
}
