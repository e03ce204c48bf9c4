// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package virtualtime runs tests in bubbles of [testing/synctest] that hold under the race detector, too.
package virtualtime

import (
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test], but for the race detector, under which goroutines share one processor while f runs.
//
// The timers of a bubble share one context of the race detector, and goroutines that fire timers at once on two
// processors end the process with "ThreadSanitizer: CHECK failed" (https://go.dev/issue/78156). Data races are found on
// one processor as well: the detector goes by what happens before what, not by what happens at once.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer shareProcessor()()
	synctest.Test(t, f) //nolint:forbidigo // this is where the rule leads
}
