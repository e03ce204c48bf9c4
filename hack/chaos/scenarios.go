// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"syscall"
	"time"
)

// scenario is one kind of fault.
type scenario struct {
	name string
	what string
	// inject breaks things while the load lasts, again and again if that is its nature, and returns when all is mended.
	inject func(ctx context.Context, f *field, lasts time.Duration) error
}

var scenarios = []scenario{
	{"calm", "nothing is broken", func(context.Context, *field, time.Duration) error { return nil }},
	{"kill-leader", "the leader is killed again and again, with a standby", killLeader},
	{"rolling-restart", "replicas are asked to end, one after the other", rollingRestart},
	{"pause-leader", "the leader is stopped for longer than its lease, and resumed", pauseLeader},
	{"apiserver-outage", "kube-apiserver is killed and comes back", apiServerOutage},
	{"etcd-outage", "etcd is killed and comes back", etcdOutage},
	{"write-faults", "a third of the status writes is answered 409, 429, 500 or 503, not at all, or without being heard",
		writeFaults},
	{"watch-lag", "watches are late, and cut now and then", watchLag},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

func indexOf(name string) int { return slices.Index(scenarioNames(), name) }

// killLeader lets each leader work for a while: one that is killed as soon as it is elected has nothing to lose.
func killLeader(ctx context.Context, f *field, lasts time.Duration) error {
	for end := time.Now().Add(lasts); ; {
		leader, err := f.leader(ctx)
		if err != nil {
			return err
		}
		if err := pause(ctx, f.pace.killEvery); err != nil {
			return err
		}
		if time.Now().After(end) {
			return nil
		}
		if err := f.kill(ctx, leader); err != nil {
			return err
		}
	}
}

func rollingRestart(ctx context.Context, f *field, lasts time.Duration) error {
	return f.repeat(ctx, lasts, f.pace.killEvery, func() error { return f.restartOldest(ctx) })
}

// wakeTime is how long a resumed process may take to send what it was about to send when it was stopped.
const wakeTime = 2 * time.Second

func pauseLeader(ctx context.Context, f *field, lasts time.Duration) error {
	if err := pause(ctx, lasts/4); err != nil {
		return err
	}
	leader, err := f.leader(ctx)
	if err != nil {
		return err
	}
	asked := time.Now()
	atRisk, told := f.atRisk(ctx, leader)
	if err := leader.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	stopped, most := time.Now(), f.mayLose(atRisk, told, asked)
	err = pause(ctx, f.pace.lease+f.pace.lease/2)
	resumed := time.Now()
	if signalled := leader.Signal(syscall.SIGCONT); err == nil {
		err = signalled
	}
	// What was stopped between the check of the lease and the first byte arrives late; it was in flight all the same.
	f.lose(loss{from: stopped.Add(-writeTime), to: stopped, until: resumed.Add(wakeTime), after: resumed,
		most: most, atRisk: atRisk})
	return err
}

func apiServerOutage(ctx context.Context, f *field, lasts time.Duration) error {
	return f.outage(ctx, lasts, f.plane.KillAPIServer, f.plane.StartAPIServer)
}

func etcdOutage(ctx context.Context, f *field, lasts time.Duration) error {
	return f.outage(ctx, lasts, f.plane.KillEtcd, f.plane.StartEtcd)
}

func writeFaults(ctx context.Context, f *field, lasts time.Duration) error {
	f.proxy.failWrites(true)
	defer f.proxy.failWrites(false)
	return pause(ctx, lasts)
}

// watchLag cuts the watches seldom enough for each to have handed on something.
func watchLag(ctx context.Context, f *field, lasts time.Duration) error {
	f.proxy.delayWatches(f.pace.watchLag)
	f.proxy.cutWatches()
	err := f.repeat(ctx, lasts, 2*f.pace.watchLag, func() error {
		f.proxy.cutWatches()
		return nil
	})
	f.proxy.delayWatches(0)
	f.proxy.cutWatches()
	return err
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
