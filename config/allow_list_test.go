// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestHostAllowList(t *testing.T) {
	if err := plane.Apply(t.Context(), "policy/allow-list"); err != nil {
		t.Fatal(err)
	}
	open := delivery(elsewhere)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := plane.Kubectl(ctx, "delete", "--kustomize", "policy/allow-list"); err != nil {
			t.Error(err)
		}
		eventually(t, "policy host-allow-list is gone", func(ctx context.Context) error {
			return create(ctx, admin, open)
		})
	})
	eventually(t, "policy host-allow-list", func(ctx context.Context) error {
		return refused(create(ctx, admin, open))
	})

	hosts := func(namespace string, want map[string]bool) {
		t.Helper()
		got := map[string]bool{}
		for host := range want {
			object := delivery(namespace)
			object.Spec.URL = "https://" + host + "/webhook"
			got[host] = denial(t, create(t.Context(), admin, object)) == ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("hosts allowed to namespace %s (-want +got):\n%s", namespace, diff)
		}
	}
	hosts(tasks, map[string]bool{
		"receiver.example":            true,
		"RECEIVER.example:8443":       true,
		"receiver.example.":           false,
		"a.receiver.example":          false,
		"receiver.example.evil":       false,
		"xreceiver.example":           false,
		"a.hooks.example":             true,
		"a.b.hooks.example":           true,
		"hooks.example":               false,
		"xhooks.example":              false,
		"[2606:4700::1111]":           false,
		"evil.example?.hooks.example": false,
	})
	hosts(elsewhere, map[string]bool{"receiver.example": false})

	want := "spec.url: host 'receiver.example' is not one of those that deliveries of namespace 'elsewhere' may name: " +
		"the administrator lists them in a ConfigMap of the operator's namespace"
	if diff := cmp.Diff(want, denial(t, create(t.Context(), admin, open))); diff != "" {
		t.Errorf("what the user reads (-want +got):\n%s", diff)
	}

	key := client.ObjectKey{Namespace: operatorNamespace, Name: "webhook-delivery-allowed-hosts"}
	list := &corev1.ConfigMap{}
	if err := admin.Get(t.Context(), key, list); err != nil {
		t.Fatal(err)
	}
	write := func(data map[string]string, allowed func(error) error) {
		t.Helper()
		list.Data = data
		if err := admin.Update(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("list %v", data), func(ctx context.Context) error {
			return allowed(create(ctx, admin, open))
		})
	}
	admitted := func(err error) error { return err }
	write(map[string]string{tasks: "receiver.example", "_default": "*"}, admitted)
	hosts(tasks, map[string]bool{"receiver.example": true, "other.example": false})
	write(map[string]string{tasks: "receiver.example"}, refused)
	hosts(tasks, map[string]bool{"receiver.example": true})
	write(map[string]string{elsewhere: "receiver.example"}, admitted)
	write(nil, refused)
}
