// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of the WebhookDelivery operator: one object is one promise to POST one task result to one
// URL.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=webhookdelivery.dev
package v1alpha1
