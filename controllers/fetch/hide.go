// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// refusalTime is longer than the API server takes to answer any of the questions that a refusal can take.
	refusalTime = 250 * time.Millisecond
	// refusalJitter is a random part on top, as the machine's own timers are not exact either.
	refusalJitter = 25 * time.Millisecond
)

// hide waits until it cannot be told from the time of a refusal what had to be asked for it: until refusalTime after
// arrived, or, where the API server took longer, until the next multiple.
func hide(ctx context.Context, arrived time.Time) {
	blur := rand.N(refusalJitter) //nolint:gosec // it guards nothing
	wait := refusalTime - time.Since(arrived)%refusalTime + blur
	select {
	case <-time.After(wait):
	case <-ctx.Done(): // nobody is there to be told
	}
}
