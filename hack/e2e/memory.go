// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// outOfMemory gives the operator a limit that it can start with, and deliveries that do not fit: each fails once and
// has its next attempt 40 s away, so that they pile up until the kernel kills the leader, and each one after it that
// reads them all. With the shipped limit everything is delivered.
func outOfMemory(ctx context.Context, s *stage) (t tally, note string, err error) {
	if err := s.limitMemory(ctx, "32Mi", "40Mi"); err != nil {
		return t, "", err
	}
	if err := s.available(ctx); err != nil {
		return t, "", fmt.Errorf("with the small limit and nothing to do: %w", err)
	}
	l := load{step: "out-of-memory", n: 1500, path: "/fail-first/1/retry-after/40", ballast: 15 << 10}
	enough, stop := context.WithCancel(ctx)
	defer stop()
	created := make(chan error, 1)
	go func() { created <- s.createUntil(ctx, enough, l) }()
	kills, err := s.untilKilledByKernel(ctx)
	stop()
	if err := errors.Join(err, <-created, s.limitMemory(ctx, "64Mi", "512Mi")); err != nil {
		return t, "", err
	}
	if err := s.available(ctx); err != nil {
		return t, "", fmt.Errorf("with the shipped limit: %w", err)
	}
	stored, err := s.stored(ctx, l.step)
	if err != nil {
		return t, "", err
	}
	l.n = len(stored)
	t, err = s.settle(ctx, l, 2*time.Minute)
	t.allowed = (kills + 1) * maxPerEndpoint // another one may have come before the pods were replaced
	return t, fmt.Sprintf("killed %d times with %d deliveries pending", kills, l.n), err
}

// untilKilledByKernel returns how often the operator's containers were restarted, once one of them was for its memory.
func (s *stage) untilKilledByKernel(ctx context.Context) (restarts int, err error) {
	err = eventually(ctx, time.Minute, func(ctx context.Context) error {
		pods, err := s.pods(ctx)
		if err != nil {
			return err
		}
		restarts = 0
		var ends []string
		for i := range pods {
			for _, c := range pods[i].Status.ContainerStatuses {
				restarts += int(c.RestartCount)
				for _, state := range []corev1.ContainerState{c.State, c.LastTerminationState} {
					if state.Terminated != nil {
						ends = append(ends, state.Terminated.Reason)
					}
				}
			}
		}
		for _, reason := range ends {
			if reason == "OOMKilled" {
				restarts = max(1, restarts)
				return nil
			}
		}
		return fmt.Errorf("no container was killed for its memory: %v", ends)
	})
	return restarts, err
}

func (s *stage) limitMemory(ctx context.Context, request, limit string) error {
	err := s.do(ctx, "set", "resources", "-n", system, "deployment/"+operator,
		"--requests=memory="+request, "--limits=memory="+limit)
	return err
}
