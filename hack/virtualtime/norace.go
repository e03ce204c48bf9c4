// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package virtualtime

func shareProcessor() func() { return func() {} }
