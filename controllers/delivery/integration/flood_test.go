// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

const (
	// renewDeadline is short, so that a flood of seconds can cost the lease.
	renewDeadline = 4 * time.Second
	// leastWait is what makes a flood.
	leastWait = 200 * time.Millisecond
)

// TestLeadershipSurvivesAFlood creates deliveries as fast as an API server takes them that lets next to nobody in: what
// the operator has to record then queues there by the hundred. config/flowcontrol keeps its lease out of that queue. It
// runs alone: it needs the machine, and the other tests are about time.
func TestLeadershipSurvivesAFlood(t *testing.T) {
	const n = 3000
	s := newStage(t, controlplane.Options{APIServerArgs: map[string][]string{
		"max-requests-inflight": {"2"}, "max-mutating-requests-inflight": {"1"},
	}})
	leader := s.startManager("leader", "--max-requests-per-endpoint=512", "--max-requests-per-namespace=512",
		"--request-timeout=2s", "--leader-election-lease-duration=6s", "--leader-election-retry-period=1s",
		"--leader-election-renew-deadline="+renewDeadline.String())
	until(t, "a leader", func() error {
		if !leader.Leads(t.Context()) {
			return fmt.Errorf("it does not lead%s", operator.Tail(s.logFile("leader"), 5))
		}
		return nil
	})
	watched := s.watchLease()
	s.flood(n)
	s.waitUntilDelivered(leader)
	before, after, oldest := watched()
	waited := s.averageWait("webhook-delivery")
	t.Logf("a request of the operator waited for %s on average, a renewal was %s old at most", waited, oldest)
	if waited < leastWait {
		t.Errorf("there was no flood: a request of the operator waited for %s on average", waited)
	}
	if *before.Spec.HolderIdentity != *after.Spec.HolderIdentity ||
		*before.Spec.LeaseTransitions != *after.Spec.LeaseTransitions {
		t.Errorf("the lease went from %+v to %+v", before.Spec, after.Spec)
	}
	if oldest > renewDeadline {
		t.Errorf("the lease was not renewed for %s, and given up after %s", oldest, renewDeadline)
	}
}

// watchLease looks at the lease ten times a second until the function is called that it returns. That tells what the
// lease was at first and in the end, and the greatest age of a renewal in between.
func (s *stage) watchLease() func() (before, after coordinationv1.Lease, oldest time.Duration) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var watching sync.WaitGroup
	var before, after coordinationv1.Lease
	var oldest time.Duration
	key := client.ObjectKey{Namespace: operator.Namespace, Name: "webhook-delivery-operator"}
	if err := s.cluster.Get(ctx, key, &before); err != nil {
		s.t.Fatal(err)
	}
	watching.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if err := s.cluster.Get(ctx, key, &after); err == nil {
				oldest = max(oldest, time.Since(after.Spec.RenewTime.Time))
			}
		}
	})
	return func() (coordinationv1.Lease, coordinationv1.Lease, time.Duration) {
		cancel()
		watching.Wait()
		return before, after, oldest
	}
}

// flood creates n deliveries as the administrator, whom the API server never lets wait.
func (s *stage) flood(n int) {
	s.t.Helper()
	work := make(chan int)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for i := range work {
				if err := s.cluster.Create(s.t.Context(), makeDelivery(fmt.Sprint("flood", i), "/ok")); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	workers.Wait()
}

// waitUntilDelivered returns when all deliveries are recorded as Delivered. It fails if the manager ends before that.
func (s *stage) waitUntilDelivered(manager *operator.Process) {
	s.t.Helper()
	others := client.MatchingFieldsSelector{
		Selector: fields.OneTermNotEqualSelector("status.phase", string(v1alpha1.PhaseDelivered)),
	}
	err := wait.PollUntilContextTimeout(s.t.Context(), 500*time.Millisecond, 3*time.Minute, true,
		func(ctx context.Context) (bool, error) {
			select {
			case <-manager.Ended():
				return false, fmt.Errorf("the manager has ended%s", operator.Tail(s.logFile("leader"), 5))
			default:
			}
			var open v1alpha1.WebhookDeliveryList
			err := s.cluster.List(ctx, &open, client.InNamespace(namespace), client.Limit(1), others)
			return len(open.Items) == 0, err
		})
	if err != nil {
		s.t.Fatal(err)
	}
}

// averageWait is how long the API server let requests of a flow schema wait before it took them up.
func (s *stage) averageWait(schema string) time.Duration {
	s.t.Helper()
	metrics, err := s.plane.Kubectl(s.t.Context(), "get", "--raw", "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	total := map[string]float64{}
	pattern := `(?m)^apiserver_flowcontrol_request_wait_duration_seconds_(sum|count)\{execute="true",flow_schema="` +
		schema + `",[^}]*\} (\S+)$`
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(metrics, -1) {
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			s.t.Fatal(err)
		}
		total[match[1]] += value
	}
	if total["count"] == 0 {
		s.t.Fatalf("the API server had no request of flow schema %s", schema)
	}
	return time.Duration(total["sum"] / total["count"] * float64(time.Second))
}
