// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of WebhookDelivery.
const GroupName = "webhookdelivery.dev"

// GroupVersion and SchemeGroupVersion (the name that generated code expects) identify this package's types.
var (
	GroupVersion       = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}
	SchemeGroupVersion = GroupVersion
)

// SchemeBuilder collects this package's types; AddToScheme registers them with a scheme.
var (
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	AddToScheme   = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &WebhookDelivery{}, &WebhookDeliveryList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
