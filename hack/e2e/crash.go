// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// crash kills the leader's process. The kubelet starts it again; who is first takes over when the lease is over.
func crash(ctx context.Context, s *stage) (t tally, note string, err error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return t, "", err
	}
	if err := s.startKiller(ctx, leader.Spec.NodeName); err != nil {
		return t, "", err
	}
	t, err = s.underSlowLoad(ctx, "crash", func(ctx context.Context) error {
		holder, err := s.holder(ctx)
		if err != nil {
			return err
		}
		_, container, _ := strings.Cut(leader.Status.ContainerStatuses[0].ContainerID, "://")
		began := time.Now()
		if err := s.do(ctx, "exec", "-n", nodes, "killer", "--", "/manager", "kill", container); err != nil {
			return err
		}
		if note, err = s.handover(ctx, holder, began); err != nil {
			return err
		}
		return s.available(ctx)
	})
	t.allowed = maxPerEndpoint
	if err != nil {
		return t, note, err
	}
	if err := s.Get(ctx, client.ObjectKeyFromObject(leader), leader); err != nil {
		return t, note, err
	}
	const killed = 128 + 9
	last := leader.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != killed {
		return t, note, fmt.Errorf("the leader was not killed: %+v", last)
	}
	return t, note, nil
}

// startKiller starts the pod that can kill processes of the node.
func (s *stage) startKiller(ctx context.Context, node string) error {
	manifest, err := os.ReadFile("hack/e2e/killer.yaml")
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(manifest), "nodeName: NODE", "nodeName: "+node)
	if _, err := s.run(ctx, text, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	return s.do(ctx, "wait", "-n", nodes, "--for=condition=Ready", "pod/killer", "--timeout=60s")
}
