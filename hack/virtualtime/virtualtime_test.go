// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package virtualtime_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// TestTimersAtOnce ends the process under the race detector where its goroutines have two processors.
func TestTimersAtOnce(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	for range 2 {
		virtualtime.Test(t, func(*testing.T) {
			var timers sync.WaitGroup
			for range 8 {
				timers.Go(func() {
					for range 500 {
						fired := make(chan struct{})
						time.AfterFunc(0, func() { close(fired) })
						<-fired
					}
				})
			}
			timers.Wait()
		})
	}
	if got := runtime.GOMAXPROCS(0); got != processors {
		t.Errorf("%d processors after the tests, had %d", got, processors)
	}
}
