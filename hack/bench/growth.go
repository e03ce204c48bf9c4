// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// growth measures whether a delivery costs more the more there have been: one manager delivers, and what it has
// delivered stays. The figures are of the deliveries up to each number, from the number before.
func growth(ctx context.Context, s settings) (f figures, err error) {
	largest := s.count(20_000)
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
		if err != nil {
			return err
		}
		if _, err := c.startManager(ctx); err != nil {
			return err
		}
		var runs []run
		delivered := 0
		for _, upTo := range []int{largest / 20, largest / 4, largest} {
			r, err := c.operatorRun(ctx, max(1, upTo-delivered), t)
			if err != nil {
				return err
			}
			delivered = upTo
			prefix := fmt.Sprintf("%d_", upTo)
			f.add(prefix+"delivered_per_second", r.perSecond())
			f.add(prefix+"manager_cpu_seconds_per_1000", r.per1000(usage.ofManager))
			f.add(prefix+"apiserver_cpu_seconds_per_1000", r.per1000(usage.ofAPIServer))
			f.add(prefix+"manager_max_rss_mib", r.maxMiB)
			runs = append(runs, r)
		}
		first, last := runs[0], runs[len(runs)-1]
		f.add("manager_cpu_growth", ratio(last.per1000(usage.ofManager), first.per1000(usage.ofManager)))
		f.add("delivered_growth", ratio(last.perSecond(), first.perSecond()))
		return nil
	})
	return f, err
}
