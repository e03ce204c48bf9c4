// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"
)

func BenchmarkPlan(b *testing.B) {
	d := makeDelivery("a").failed(2, t0, 503, t0.Add(30*time.Second)).obj()
	p := DefaultPolicy()
	b.ReportAllocs()
	for b.Loop() {
		p.plan(d, p.dueTime(d, t0), t0)
	}
}

func BenchmarkAfterAttempt(b *testing.B) {
	d := makeDelivery("a").failed(2, t0, 503, t0.Add(30*time.Second)).obj()
	p := DefaultPolicy()
	b.ReportAllocs()
	for b.Loop() {
		p.afterAttempt(d, failure(3, t0))
	}
}

func BenchmarkStatusPatch(b *testing.B) {
	d := makeDelivery("a").failed(2, t0, 503, t0.Add(30*time.Second)).obj()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := statusPatch("12345", d.Status); err != nil {
			b.Fatal(err)
		}
	}
}
