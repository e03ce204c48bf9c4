// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestEndWithParent(t *testing.T) {
	tests := map[string]struct {
		parent int
		want   bool
	}{
		"the parent is there": {parent: os.Getppid()},
		"another took over":   {parent: -1, want: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancelCause(t.Context())
				defer end(nil)
				go endWithParent(ctx, tc.parent, end)
				time.Sleep(time.Minute) // virtual
				if got := ctx.Err() != nil; got != tc.want || (got && !errors.Is(context.Cause(ctx), context.Canceled)) {
					t.Errorf("ended: %v, %v", got, context.Cause(ctx))
				}
			})
		})
	}
}
