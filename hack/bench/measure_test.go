// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/receiver"
)

func TestParseManagerMetrics(t *testing.T) {
	const text = `
# TYPE go_memstats_heap_alloc_bytes gauge
go_memstats_heap_alloc_bytes 1.5e+06
# TYPE rest_client_requests_total counter
rest_client_requests_total{code="200",host="h",method="GET"} 3
rest_client_requests_total{code="404",host="h",method="GET"} 1
rest_client_requests_total{code="200",host="h",method="PATCH"} 40
rest_client_requests_total{code="409",host="h",method="PATCH"} 2
rest_client_requests_total{code="200",host="h",method="PUT"} 5
rest_client_requests_total{code="201",host="h",method="POST"} 6
`
	got, err := parseManagerMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := managerMetrics{writes: 53, reads: 4, heapBytes: 1.5e6}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if diff := got.since(managerMetrics{writes: 50, reads: 1, heapBytes: 1e6}); diff !=
		(managerMetrics{writes: 3, reads: 3, heapBytes: 5e5}) {
		t.Errorf("the difference is %+v", diff)
	}
}

func TestRun(t *testing.T) {
	r := run{
		objects: 500, elapsed: 2 * time.Second, usage: usage{manager: 1, apiServer: 4, etcd: 0.5, harness: 0.25},
		metrics: managerMetrics{writes: 505, reads: 5},
	}
	got := []float64{
		r.perSecond(), r.per1000(usage.ofManager), r.per1000(usage.ofAPIServer), r.per1000(usage.ofEtcd),
		r.per1000(usage.ofHarness), r.per1000(usage.ofAll), r.writesPerDelivery(), r.readsPerDelivery(),
	}
	if diff := cmp.Diff([]float64{250, 2, 8, 1, 0.5, 11.5, 1.01, 0.01}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSum(t *testing.T) {
	got := sum([]run{
		{objects: 1, elapsed: time.Second, usage: usage{1, 2, 3, 4}},
		{objects: 2, elapsed: time.Minute, usage: usage{10, 20, 30, 40}},
	})
	if want := (run{objects: 3, elapsed: 61 * time.Second, usage: usage{11, 22, 33, 44}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestProcessesAreLookedAt(t *testing.T) {
	var digest [32]byte
	for deadline := time.Now().Add(50 * time.Millisecond); time.Now().Before(deadline); { // five ticks of /proc's clock
		digest = sha256.Sum256(digest[:])
	}
	cpu, err := cpuSeconds(os.Getpid())
	if err != nil || cpu <= 0 || cpu > 3600 {
		t.Errorf("this process has used %v s (%v)", cpu, err)
	}
	now, err := residentMiB(os.Getpid())
	if err != nil || now < 1 || now > 10_000 {
		t.Errorf("this process has %v MiB (%v)", now, err)
	}
	most, err := maxResidentMiB(os.Getpid())
	if err != nil || most < now/2 || most > 10_000 {
		t.Errorf("this process has had %v MiB at most and has %v now (%v)", most, now, err)
	}
	if _, err := cpuSeconds(-1); err == nil {
		t.Error("there is no process -1")
	}
}

func TestLateness(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	due := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	after := func(i int, d time.Duration) receiver.Record { return receiver.Record{Arrived: due(i).Add(d)} }
	arrived := map[string]receiver.Record{
		taskName(0): after(0, 9*time.Second),       // due before the manager was ready
		taskName(1): after(1, -time.Microsecond),   // early, although due before
		taskName(3): after(3, 5*time.Millisecond),  // late
		taskName(4): after(4, 0),                   // punctual
		taskName(5): after(5, -2*time.Millisecond), // early
	}
	var l lateness
	l.add(6, due, start.Add(1500*time.Millisecond), arrived)
	if l.early != 2 || l.missing != 1 {
		t.Errorf("%d early and %d missing, want 2 and 1", l.early, l.missing)
	}
	if diff := cmp.Diff([]float64{5, 0, -2}, l.late); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSightingsAreTheFirst(t *testing.T) {
	const events = `{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}
{"type":"ADDED","object":{"metadata":{"name":"b","resourceVersion":"8"}}}
{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"9"}}}`
	s := &sightings{seen: map[string]time.Time{"a": time.Unix(1, 0)}}
	if version, err := s.read(strings.NewReader(events), "5"); !errors.Is(err, io.EOF) || version != "9" {
		t.Errorf("read up to %s (%v), want 9", version, err)
	}
	if first, ok := s.of("a"); !ok || !first.Equal(time.Unix(1, 0)) {
		t.Errorf("a was seen at %s", first)
	}
	if _, ok := s.of("c"); ok {
		t.Error("c was never there")
	}
	if two, err := s.atLeast(2); !two || err != nil {
		t.Errorf("not two seen (%v)", err)
	}
	if three, err := s.atLeast(3); three || err != nil {
		t.Errorf("three seen (%v)", err)
	}
}

func TestSightingsEnd(t *testing.T) {
	const events = `{"type":"ERROR","object":{"kind":"Status","metadata":{},"code":410}}`
	s := &sightings{seen: map[string]time.Time{}}
	_, err := s.read(strings.NewReader(events), "5")
	if err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("error %v, want one that ends the watch", err)
	}
	s.end(err)
	if _, got := s.atLeast(1); !errors.Is(got, err) {
		t.Errorf("error %v, want %v", got, err)
	}
}

func TestTheWatchGoesOnWhereItEnded(t *testing.T) {
	var since []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		since = append(since, r.URL.Query().Get("resourceVersion"))
		switch len(since) {
		case 1, 2:
			fmt.Fprintf(w, `{"type":"ADDED","object":{"metadata":{"name":"task-%d","resourceVersion":"1%d"}}}`,
				len(since), len(since))
		default:
			http.Error(w, "enough", http.StatusGone)
		}
	}))
	defer server.Close()
	s, err := (&api{client: server.Client(), host: server.URL}).watch(t.Context(), "here")
	if err != nil {
		t.Fatal(err)
	}
	err = poll(t.Context(), "the end", func() (bool, error) { _, err := s.atLeast(1); return false, err })
	if !answered(err, http.StatusGone) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0", "11", "12"}, since); diff != "" {
		t.Errorf("it watched from (-want +got):\n%s", diff)
	}
	if two, _ := s.atLeast(2); !two {
		t.Error("not both were seen")
	}
}
