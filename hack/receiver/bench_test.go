// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// discard is a client whose answers cost nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) FlushError() error           { clear(d.header); return nil }

// BenchmarkHandler measures what the receiver adds to net/http: reading, verifying, recording and working.
func BenchmarkHandler(b *testing.B) {
	for _, size := range []int{500, 16 << 10, 256 << 10} {
		for name, o := range map[string]Options{
			"verified":        {Plain: true, Secrets: []string{secret}},
			"secret-only":     {Plain: true, Secrets: []string{secret}, SkipSignature: true},
			"nothing-checked": {Plain: true},
		} {
			b.Run(fmt.Sprintf("%s/%d-bytes", name, size), func(b *testing.B) {
				benchmarkHandler(b, o, size)
			})
		}
	}
}

func benchmarkHandler(b *testing.B, o Options, size int) {
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	closeAtEnd(b, s)
	payload := fmt.Sprintf(`{"filler":%q,"task_id":"550e8400-e29b-41d4-a716-446655440000"}`, strings.Repeat("x", size))
	m := genuine("/ok", "550e8400-e29b-41d4-a716-446655440000", payload)
	header := m.header(b)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/ok", bytes.NewReader([]byte(payload)))
		if err != nil {
			b.Fatal(err)
		}
		req.Header = header
		s.ServeHTTP(w, req)
	}
}

// BenchmarkLoopback measures requests on kept connections with their client, which costs about as much.
func BenchmarkLoopback(b *testing.B) {
	for name, o := range map[string]Options{
		"http":  {Plain: true, Secrets: []string{secret}},
		"https": {Secrets: []string{secret}},
	} {
		b.Run(name, func(b *testing.B) {
			s, c := onLoopback(b, o)
			payload := fmt.Sprintf(`{"filler":%q,"task_id":"a"}`, strings.Repeat("x", 450))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.status(b, genuine("/ok", "id-1", payload))
				}
			})
			b.ReportMetric(float64(s.Snapshot().Requests)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// BenchmarkAccount measures the memory of the record of a delivery's only request.
func BenchmarkAccount(b *testing.B) {
	a := newAccount()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		v := a.arrive("/ok", fmt.Sprintf("550e8400-e29b-41d4-a716-%012d", n))
		v.verified(fmt.Sprintf("imagine-e29b-41d4-a716-%012d", n), Passed, Passed)
		v.claim(v.record.TaskID)
		v.answered(http.StatusOK)
		v.leave()
		n++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "bytes/record")
	runtime.KeepAlive(a)
}
