// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// slow takes long enough for some requests to be in flight at every moment of the load.
	slow = "/slow/300"
	// maxPerEndpoint is how many requests the operator has in flight to one receiver at most.
	maxPerEndpoint = 64
	loadSeconds    = 15
)

// underSlowLoad disrupts the delivery to a receiver that takes its time.
func (s *stage) underSlowLoad(ctx context.Context, step string, disrupt func(context.Context) error) (tally, error) {
	return s.underLoad(ctx, load{step: step, n: int(loadSeconds * s.perSecond), path: slow}, disrupt)
}

// leader is the pod that holds the lease.
func (s *stage) leader(ctx context.Context) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	err := eventually(ctx, time.Minute, func(ctx context.Context) error {
		holder, err := s.holder(ctx)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(holder, "_")
		return s.Get(ctx, client.ObjectKey{Namespace: system, Name: name}, pod)
	})
	return pod, err
}

// holder is the process that holds the lease.
func (s *stage) holder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := s.Get(ctx, client.ObjectKey{Namespace: system, Name: operator}, lease)
	switch {
	case err != nil:
		return "", err
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "":
		return "", errors.New("nobody holds the lease")
	}
	return *lease.Spec.HolderIdentity, nil
}

// handover returns how long it took, from began, until another process held the lease.
func (s *stage) handover(ctx context.Context, former string, began time.Time) (string, error) {
	err := eventually(ctx, time.Minute, func(ctx context.Context) error {
		holder, err := s.holder(ctx)
		if err == nil && holder == former {
			err = fmt.Errorf("%s still holds the lease", former)
		}
		return err
	})
	return fmt.Sprintf("handed over in %.1f s", time.Since(began).Seconds()), err
}

// deleteLeader deletes the leader's pod, which may end in peace.
func deleteLeader(ctx context.Context, s *stage) (t tally, note string, err error) {
	t, err = s.underSlowLoad(ctx, "delete-leader", func(ctx context.Context) error {
		leader, err := s.leader(ctx)
		if err != nil {
			return err
		}
		holder, err := s.holder(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.Delete(ctx, leader); err != nil {
			return err
		}
		if note, err = s.handover(ctx, holder, began); err != nil {
			return err
		}
		return s.available(ctx)
	})
	return t, note, err
}
