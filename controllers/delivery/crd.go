// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// CheckCRD returns an error that says what to do when the API server cannot serve what this operator's cache asks for:
// an informer would repeat the refused request for ever. It asks in the namespaces that the operator works in, as it
// may have rights in no other, and returns those in which it may not list deliveries either, which are not there or not
// set up, unless those are all; none are all of them.
func CheckCRD(ctx context.Context, live client.Reader, namespaces []string) (forbidden []string, _ error) {
	if len(namespaces) == 0 {
		return nil, tryList(ctx, live, metav1.NamespaceAll)
	}
	var last error
	for _, namespace := range namespaces {
		err := tryList(ctx, live, namespace)
		if apierrors.IsForbidden(err) {
			forbidden, last = append(forbidden, namespace), err
		} else if err != nil {
			return nil, err
		}
	}
	if len(forbidden) == len(namespaces) {
		return nil, last
	}
	return forbidden, nil
}

// tryList asks for one object as the informer will ask for all.
func tryList(ctx context.Context, live client.Reader, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	objects := &metav1.PartialObjectMetadataList{}
	objects.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDeliveryList"))
	err := live.List(ctx, objects, client.InNamespace(namespace), client.Limit(1),
		client.MatchingFieldsSelector{Selector: CachedObjects().Field})
	switch {
	case apierrors.IsBadRequest(err):
		return fmt.Errorf("the installed CRD is older than this operator: apply the one that was released with it: %w", err)
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		return fmt.Errorf("the CRD of WebhookDelivery is not installed: apply config/crd: %w", err)
	case err != nil:
		return fmt.Errorf("listing deliveries: %w", err)
	}
	return nil
}
