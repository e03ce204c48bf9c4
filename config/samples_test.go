// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestSamplesApply applies the samples as a reader of the documentation does, and a second time without effect on the deliveries.
func TestSamplesApply(t *testing.T) {
	kubectl(t, "create namespace samples")
	for _, dir := range []string{"samples", "samples/tenancy"} {
		kubectl(t, "apply -n samples --validate=strict -f %s", dir)
	}
	for line := range strings.Lines(kubectl(t, "apply -n samples --validate=strict -f samples")) {
		if strings.HasPrefix(line, "webhookdelivery") && !strings.HasSuffix(line, " unchanged\n") {
			t.Errorf("applied again: %s", line)
		}
	}
}

// TestQuotaSampleBounds writes the quota's status in the place of the controller manager, which counts the objects.
func TestQuotaSampleBounds(t *testing.T) {
	const name = "count/webhookdeliveries.webhookdelivery.dev"
	kubectl(t, "create namespace bounded")
	kubectl(t, "apply -n bounded -f samples/tenancy/quota.yaml")
	quota := &corev1.ResourceQuota{}
	key := client.ObjectKey{Namespace: "bounded", Name: "webhookdeliveries"}
	if err := admin.Get(t.Context(), key, quota); err != nil {
		t.Fatal(err)
	}
	quota.Status.Hard = quota.Spec.Hard
	quota.Status.Used = corev1.ResourceList{name: resource.MustParse("9999")}
	if err := admin.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last delivery within the quota", func(ctx context.Context) error {
		if err := admin.Create(ctx, delivery("bounded")); err != nil {
			return err
		}
		if err := admin.Get(ctx, key, quota); err != nil {
			return err
		}
		// One that was created before the API server saw the status above is not counted.
		used := quota.Status.Used[name]
		return difference(int64(10000), used.Value())
	})
	eventually(t, "a delivery beyond the quota", func(ctx context.Context) error {
		err := create(ctx, admin, delivery("bounded"))
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: webhookdeliveries") {
			return nil
		}
		return errors.Join(errors.New("not refused"), err)
	})
}
