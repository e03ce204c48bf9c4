// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// payloads compares the rate of deliveries with the floor for several sizes of payload.
func payloads(ctx context.Context, s settings) (f figures, err error) {
	for _, payload := range []struct{ kibibytes, share int }{{1, 1}, {16, 2}, {256, 20}} {
		err := within(ctx, s, false, func(ctx context.Context, c *cluster) error {
			count := max(1, s.count(400)/payload.share) // larger ones take longer
			floor, operated, err := c.duel(ctx, s.fewerRounds(), count, payload.kibibytes<<10)
			if err != nil {
				return err
			}
			prefix := fmt.Sprintf("%d_kib_", payload.kibibytes)
			f.add(prefix+"floor_per_second", medianOf(floor, run.perSecond))
			f.add(prefix+"delivered_per_second", medianOf(operated, run.perSecond))
			f.add(prefix+"ratio", medianRatio(operated, floor, run.perSecond))
			f.add(prefix+"cpu_ratio", cpuRatio(floor, operated))
			f.add(prefix+"reads_per_delivery", medianOf(operated, run.readsPerDelivery))
			f.add(prefix+"manager_max_rss_mib", medianOf(operated, func(r run) float64 { return r.maxMiB }))
			return nil
		})
		if err != nil {
			return f, err
		}
	}
	return f, nil
}
