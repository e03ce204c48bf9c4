// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
)

// preferred is a discovery client that lists what it was made with.
type preferred struct {
	*fakediscovery.FakeDiscovery
}

func (p preferred) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return p.Resources, nil
}

func TestInventory(t *testing.T) {
	kinds := preferred{&fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{Resources: []*metav1.APIResourceList{{
		GroupVersion: "v1",
		APIResources: []metav1.APIResource{
			{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: []string{"list"}},
			{Name: "namespaces", Kind: "Namespace", Verbs: []string{"get", "list"}},
			{Name: "events", Kind: "Event", Namespaced: true, Verbs: []string{"list"}},
			{Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: []string{"create"}},
		},
	}}}}}
	object := func(kind, namespace, name string) runtime.Object {
		return &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		}
	}
	take := func(objects ...runtime.Object) inventory {
		scheme := runtime.NewScheme()
		if err := metav1.AddMetaToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		all, err := takeInventory(t.Context(), kinds, fake.NewSimpleMetadataClient(scheme, objects...))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := take(object("Namespace", "", "default"), object("ConfigMap", "default", "old"))
	after := take(object("Namespace", "", "default"), object("Namespace", "", "left"),
		object("ConfigMap", "default", "left"), object("Event", "default", "e"))
	want := []string{"configmaps default/left", "namespaces /left"}
	if diff := cmp.Diff(want, after.beyond(before)); diff != "" {
		t.Error(diff)
	}
	if more := before.beyond(before); len(more) != 0 {
		t.Errorf("beyond itself there is %v", more)
	}
}
