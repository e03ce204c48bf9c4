// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
)

// volatile are resources whose objects come and go by themselves.
var volatile = map[string]bool{"events": true, "leases": true, "endpointslices": true, "endpoints": true}

// inventory are the names of all objects in the cluster, but for the volatile ones.
type inventory map[string]struct{}

// takeInventory lists everything that can be listed.
func takeInventory(
	ctx context.Context, kinds discovery.DiscoveryInterface, objects metadata.Interface,
) (inventory, error) {
	lists, err := kinds.ServerPreferredResources()
	// A resource of an API server that is not there, such as one for metrics, has no objects here either.
	if _, partly := errors.AsType[*discovery.ErrGroupDiscoveryFailed](err); err != nil && !partly {
		return nil, fmt.Errorf("finding the kinds of objects: %w", err)
	}
	all := inventory{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if volatile[resource.Name] || !slices.Contains(resource.Verbs, "list") || strings.Contains(resource.Name, "/") {
				continue
			}
			if err := all.add(ctx, objects, version.WithResource(resource.Name)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (i inventory) add(ctx context.Context, objects metadata.Interface, resource schema.GroupVersionResource) error {
	list, err := objects.Resource(resource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil // gone since, or it holds nothing that has a name
	}
	if err != nil {
		return fmt.Errorf("listing %s: %w", resource.GroupResource(), err)
	}
	for _, object := range list.Items {
		i[fmt.Sprintf("%s %s/%s", resource.GroupResource(), object.Namespace, object.Name)] = struct{}{}
	}
	return nil
}

// beyond returns what is in i and not in before, in order.
func (i inventory) beyond(before inventory) []string {
	more := maps.Clone(i)
	maps.DeleteFunc(more, func(name string, _ struct{}) bool {
		_, known := before[name]
		return known
	})
	return slices.Sorted(maps.Keys(more))
}
