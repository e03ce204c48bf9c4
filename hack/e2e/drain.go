// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// drain evicts the operator's pods from the leader's node, as kubectl drain does, but nobody else's.
func drain(ctx context.Context, s *stage) (t tally, note string, err error) {
	t, err = s.underSlowLoad(ctx, "drain", func(ctx context.Context) error {
		leader, err := s.leader(ctx)
		if err != nil {
			return err
		}
		pods, err := s.pods(ctx)
		if err != nil {
			return err
		}
		if err := s.cordon(ctx, leader.Spec.NodeName, true); err != nil {
			return err
		}
		note, err = s.evictAll(ctx, leader, pods)
		return errors.Join(err, s.cordon(context.WithoutCancel(ctx), leader.Spec.NodeName, false))
	})
	return t, note, err
}

// evictAll evicts the leader, then the others: they must be held until there is a replacement.
func (s *stage) evictAll(ctx context.Context, leader *corev1.Pod, pods []corev1.Pod) (note string, err error) {
	if err := s.evict(ctx, leader); err != nil {
		return "", fmt.Errorf("evicting the leader: %w", err)
	}
	for i := range pods {
		if pods[i].Name == leader.Name {
			continue
		}
		err := s.evict(ctx, &pods[i])
		if err == nil {
			return "", errors.New("the last replica was evicted")
		}
		if !apierrors.IsTooManyRequests(err) {
			return "", fmt.Errorf("evicting the last replica: %w", err)
		}
		if err := s.cordon(ctx, leader.Spec.NodeName, false); err != nil {
			return "", err
		}
		if err := s.available(ctx); err != nil {
			return "", err
		}
		if err := s.evict(ctx, &pods[i]); err != nil {
			return "", fmt.Errorf("evicting %s beside a replacement: %w", pods[i].Name, err)
		}
	}
	return "the last replica was held until there was another", s.available(ctx)
}

func (s *stage) evict(ctx context.Context, pod *corev1.Pod) error {
	return s.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

func (s *stage) cordon(ctx context.Context, node string, cordoned bool) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned))
	return s.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, patch)
}

// drainBroken gives all replicas at once a flag that does not exist, evicts them, and takes it back.
func drainBroken(ctx context.Context, s *stage) (t tally, note string, err error) {
	d := &appsv1.Deployment{}
	if err := s.Get(ctx, client.ObjectKey{Namespace: system, Name: operator}, d); err != nil {
		return t, "", err
	}
	working := d.DeepCopy()
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	container := &d.Spec.Template.Spec.Containers[0]
	container.Args = append(container.Args, "--no-such-flag")
	if err := s.Patch(ctx, d, client.MergeFrom(working)); err != nil {
		return t, "", err
	}
	broken, err := s.crashing(ctx)
	for i := range broken {
		if evicted := s.evict(ctx, &broken[i]); evicted != nil {
			err = errors.Join(err, fmt.Errorf("evicting %s: %w", broken[i].Name, evicted))
		}
	}
	working.ResourceVersion = d.ResourceVersion // it is no part of the patch then
	mended := s.Patch(ctx, working, client.MergeFrom(d))
	if err := errors.Join(err, mended); err != nil {
		return t, "", err
	}
	return t, fmt.Sprintf("%d crashing replicas evicted", len(broken)), s.available(ctx)
}

// crashing returns the operator's pods once all have ended at their start.
func (s *stage) crashing(ctx context.Context) (pods []corev1.Pod, err error) {
	err = eventually(ctx, time.Minute, func(ctx context.Context) (err error) {
		if pods, err = s.pods(ctx); err != nil {
			return err
		}
		n := 0
		for i := range pods {
			statuses := pods[i].Status.ContainerStatuses
			if len(statuses) == 1 && statuses[0].RestartCount > 0 && !statuses[0].Ready {
				n++
			}
		}
		if len(pods) != replicas || n != replicas {
			return fmt.Errorf("%d of %d pods crash", n, len(pods))
		}
		return nil
	})
	return pods, err
}
