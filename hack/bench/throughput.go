// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// throughput compares the rate of deliveries that succeed at once with the floor, with and without etcd's fsync.
func throughput(ctx context.Context, s settings) (f figures, err error) {
	for _, disk := range []struct {
		prefix string
		fsync  bool
		rounds int
	}{{"", false, s.rounds}, {"fsync_", true, s.fewerRounds()}} {
		err := within(ctx, s, disk.fsync, func(ctx context.Context, c *cluster) error {
			floor, operated, err := c.duel(ctx, disk.rounds, s.count(1000), defaultPayload)
			if err != nil {
				return err
			}
			f.addDuel(disk.prefix, floor, operated)
			if s.profiles == "" || disk.fsync {
				return nil
			}
			return c.profileThroughput(ctx)
		})
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// cpuRatio is what the processor does for the floor, as a share of what it does for the operator: the ratio of the
// rates on a machine that does nothing else, and steadier than that on one that does.
func cpuRatio(floor, operated []run) float64 {
	return medianRatio(floor, operated, func(r run) float64 { return r.per1000(usage.ofAll) })
}

func (f *figures) addDuel(prefix string, floor, operated []run) {
	f.add(prefix+"floor_per_second", medianOf(floor, run.perSecond))
	f.add(prefix+"delivered_per_second", medianOf(operated, run.perSecond))
	f.add(prefix+"ratio", medianRatio(operated, floor, run.perSecond))
	f.add(prefix+"cpu_ratio", cpuRatio(floor, operated))
	f.add(prefix+"writes_per_delivery", medianOf(operated, run.writesPerDelivery))
	f.add(prefix+"reads_per_delivery", medianOf(operated, run.readsPerDelivery))
	for _, share := range []struct {
		name string
		runs []run
		of   func(usage) float64
	}{
		{"manager", operated, usage.ofManager},
		{"apiserver", operated, usage.ofAPIServer},
		{"floor_apiserver", floor, usage.ofAPIServer},
		{"etcd", operated, usage.ofEtcd},
		{"floor_etcd", floor, usage.ofEtcd},
		{"harness", operated, usage.ofHarness},
		{"floor_harness", floor, usage.ofHarness},
		{"all", operated, usage.ofAll},
		{"floor_all", floor, usage.ofAll},
	} {
		f.add(prefix+share.name+"_cpu_seconds_per_1000", medianOf(share.runs, func(r run) float64 {
			return r.per1000(share.of)
		}))
	}
	f.add(prefix+"manager_max_rss_mib", medianOf(operated, func(r run) float64 { return r.maxMiB }))
}

// profileThroughput makes one more run, which is not measured.
func (c *cluster) profileThroughput(ctx context.Context) error {
	t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return err
	}
	if _, err := c.startManager(ctx); err != nil {
		return err
	}
	return c.profiled(ctx, "throughput", func() error {
		_, err := c.operatorRun(ctx, c.settings.count(4000), t)
		return err
	})
}
