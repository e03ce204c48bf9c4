// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package virtualtime

import (
	"runtime"
	"sync"
)

// sharing counts the bubbles that need it, as tests may run in parallel.
var sharing struct {
	sync.Mutex
	bubbles    int
	processors int // without any bubble
}

// Processors is how many bubbles can go on at the same time.
func Processors() int { return 1 }

// shareProcessor leaves all goroutines one processor until the function that it returns is called.
func shareProcessor() func() {
	sharing.Lock()
	defer sharing.Unlock()
	if sharing.bubbles++; sharing.bubbles == 1 {
		sharing.processors = runtime.GOMAXPROCS(1)
	}
	return func() {
		sharing.Lock()
		defer sharing.Unlock()
		if sharing.bubbles--; sharing.bubbles == 0 {
			runtime.GOMAXPROCS(sharing.processors)
		}
	}
}
