// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestBudget evicts pods of the operator, whose status, and that of the budget, are written in the place of the kubelet
// and of the controller manager: one of one that is ready is protected, one that is not can go.
func TestBudget(t *testing.T) {
	budget := &policyv1.PodDisruptionBudget{}
	key := client.ObjectKey{Namespace: "webhook-delivery-system", Name: "webhook-delivery-operator"}
	if err := admin.Get(t.Context(), key, budget); err != nil {
		t.Fatal(err)
	}
	budget.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: budget.Generation, ExpectedPods: 2, DesiredHealthy: 1, CurrentHealthy: 0, DisruptionsAllowed: 0,
	}
	if err := admin.Status().Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		ready corev1.ConditionStatus
		held  bool
	}{
		"crash-looping": {corev1.ConditionFalse, false},
		"ready":         {corev1.ConditionTrue, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := operatorPod(t, "evicted-"+name)
			if err := admin.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: tc.ready}}
			if err := admin.Status().Update(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
			eventually(t, "the eviction's answer", func(ctx context.Context) error {
				err := admin.SubResource("eviction").Create(ctx, pod, eviction)
				if tc.held && apierrors.IsTooManyRequests(err) || !tc.held && err == nil {
					return nil
				}
				return errors.Join(errors.New("not as it should be answered"), err)
			})
			if err := admin.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
}
