// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package virtualtime

import "runtime"

// Processors is how many bubbles can go on at the same time.
func Processors() int { return runtime.GOMAXPROCS(0) }

func shareProcessor() func() { return func() {} }
