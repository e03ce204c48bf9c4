// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// SendMargin is what must be left of the lease, beyond the request timeout, when a request starts.
const SendMargin = 2 * time.Second

// LeaseName is the name of the Lease that the replicas compete for.
const LeaseName = "webhook-delivery-operator"

const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Leadership wraps the resource lock of a leader election and knows how long the lease still holds, so that a process
// that was stopped and resumed does not send on a lease that another process has taken over: the callback that tells of
// the loss may come after the request.
type Leadership struct {
	resourcelock.Interface
	duration time.Duration
	busy     func() bool

	mu      sync.Mutex
	renewed time.Time
	other   bool // whether another process was seen to hold the lease
}

// NewLeadership returns the lock that the replicas compete for: the Lease of the operator's name in namespace, or in
// the pod's own if that is empty. Others respect it for duration after each renewal; a renewal is given up after
// deadline.
func NewLeadership(config *rest.Config, namespace string, duration, deadline time.Duration) (*Leadership, error) {
	if namespace == "" {
		raw, err := os.ReadFile(namespaceFile)
		if err != nil {
			return nil, fmt.Errorf("finding the namespace for leader election: outside a pod, set it by flag: %w", err)
		}
		namespace = string(raw)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("finding the name of this replica: %w", err)
	}
	identity := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, LeaseName, identity, config,
		deadline)
	if err != nil {
		return nil, fmt.Errorf("preparing leader election: %w", err)
	}
	return &Leadership{Interface: lock, duration: duration}, nil
}

// KeepWhile has the lease run out instead of being released while busy returns true: whoever takes over at once would
// repeat what this process has sent and still means to record. It is to be called before the election.
func (l *Leadership) KeepWhile(busy func() bool) { l.busy = busy }

// Get notices when the lease is another's.
func (l *Leadership) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err != nil {
		return record, raw, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.other = record.HolderIdentity != "" && record.HolderIdentity != l.Identity(); l.other {
		l.renewed = time.Time{}
	}
	return record, raw, nil
}

// Create records a renewal when the lease was created.
func (l *Leadership) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.renew(record, func() error { return l.Interface.Create(ctx, record) })
}

// Update records a renewal when the lease was updated. It refuses to release the lease of another process, which the
// elector does if it was stopped during a renewal, and one that is to be kept.
func (l *Leadership) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity != l.Identity() {
		l.mu.Lock()
		other := l.other
		l.mu.Unlock()
		switch {
		case other:
			return errors.New("the lease is another replica's by now")
		case l.busy != nil && l.busy():
			return errors.New("not everything is recorded that was sent: the lease is left to run out")
		}
	}
	return l.renew(record, func() error { return l.Interface.Update(ctx, record) })
}

// renew counts the lease from before the request: others cannot have seen the renewal any earlier.
func (l *Leadership) renew(record resourcelock.LeaderElectionRecord, write func() error) error {
	began := time.Now()
	if err := write(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed, l.other = began, false
	if record.HolderIdentity != l.Identity() {
		l.renewed = time.Time{} // released
	}
	return nil
}

// Holds reports whether the lease will still hold after d, by the monotonic clock, which goes on while the process is
// stopped, as well as by the wall clock, which goes on while the machine is.
func (l *Leadership) Holds(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewed.IsZero() {
		return false
	}
	now := time.Now()
	age := max(now.Sub(l.renewed), now.Round(0).Sub(l.renewed.Round(0)))
	return age+d < l.duration
}
