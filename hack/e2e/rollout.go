// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rollOut restarts the Deployment under load, while other deliveries wait for their second attempt.
func rollOut(ctx context.Context, s *stage) (t tally, note string, err error) {
	waiting := load{step: "waiting", n: 100, path: "/fail-first/1"}
	restarted := time.Time{}
	t, err = s.underSlowLoad(ctx, "rolling-update", func(ctx context.Context) error {
		if err := s.create(ctx, waiting); err != nil {
			return err
		}
		if err := s.reach(ctx, waiting, 9*time.Second, isRetrying); err != nil {
			return err
		}
		restarted = time.Now()
		if err := s.do(ctx, "rollout", "restart", "-n", system, "deployment/"+operator); err != nil {
			return err
		}
		return s.available(ctx)
	})
	if err != nil {
		return t, "", err
	}
	took := time.Since(restarted)
	second, err := s.settle(ctx, waiting, 30*time.Second)
	note = fmt.Sprintf("done in %.0f s, %d waited meanwhile", took.Seconds(), second.deliveries)
	if second.requests != 2*waiting.n {
		err = errors.Join(err, fmt.Errorf("%d requests of %d that waited", second.requests, waiting.n))
	}
	return t.plus(second), note, err
}
