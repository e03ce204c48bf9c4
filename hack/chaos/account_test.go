// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

// request arrived at a time and was answered a tenth of a second later.
func request(seconds float64, status int) receiver.Record {
	return receiver.Record{Arrived: at(seconds), Took: 100 * time.Millisecond, Status: status}
}

// tried is a delivery with an attempt of 100 ms at each of the times.
func tried(phase v1alpha1.Phase, starts ...float64) *v1alpha1.WebhookDelivery {
	d := &v1alpha1.WebhookDelivery{}
	d.Status.Phase = phase
	for _, s := range starts {
		d.Status.Attempts = append(d.Status.Attempts,
			v1alpha1.Attempt{StartTime: metav1.NewMicroTime(at(s)), DurationMilliseconds: 100})
	}
	return d
}

func TestOutcome(t *testing.T) {
	tests := map[string]struct {
		url      string
		phase    v1alpha1.Phase
		attempts int
		seen     []receiver.Record
		want     verdict
	}{
		"delivered": {"/fail-first/1", v1alpha1.PhaseDelivered, 2,
			[]receiver.Record{request(0, 503), request(5, 200)}, verdict{Delivered: 1}},
		"undeliverable": {"/status/500", v1alpha1.PhaseUndeliverable, 2,
			[]receiver.Record{request(0, 503), request(5, 503)}, verdict{Undeliverable: 1}},
		"not answered": {"/hang", v1alpha1.PhaseUndeliverable, 2,
			[]receiver.Record{request(0, 0), request(5, 0)}, verdict{Undeliverable: 1}},
		"given up too soon": {"/status/500", v1alpha1.PhaseUndeliverable, 1,
			[]receiver.Record{request(0, 503)}, verdict{Lost: 1}},
		"given up, although it would be accepted": {"/fail-first/1", v1alpha1.PhaseUndeliverable, 2,
			[]receiver.Record{request(0, 503)}, verdict{Lost: 1}},
		"not ended": {"/ok", v1alpha1.PhaseRetrying, 1, []receiver.Record{request(0, 503)}, verdict{Lost: 1}},
		"delivered, but never accepted": {"/ok", v1alpha1.PhaseDelivered, 1,
			[]receiver.Record{request(0, 503)}, verdict{Lost: 1}},
		"undeliverable, although accepted": {"/status/500", v1alpha1.PhaseUndeliverable, 2,
			[]receiver.Record{request(0, 200)}, verdict{Lost: 1}},
		"delivered without a request": {"/ok", v1alpha1.PhaseDelivered, 1, nil, verdict{Lost: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var v verdict
			d := tried(tc.phase, make([]float64, tc.attempts)...)
			d.Spec.URL = "https://receiver.example" + tc.url
			v.outcome(d, tc.seen, 2)
			same(t, tc.want, v)
		})
	}
}

func TestRepeats(t *testing.T) {
	killed := func(most int) loss { return loss{from: at(8), to: at(10), most: most} }
	resumed := loss{from: at(8), to: at(10), after: at(20), until: at(22), most: 9}
	tests := map[string]struct {
		attempts []float64
		seen     []float64
		losses   []loss
		want     verdict
	}{
		"every request recorded":             {[]float64{0, 5}, []float64{0.01, 5.01}, nil, verdict{}},
		"an attempt that never arrived":      {[]float64{0, 5}, []float64{5.01}, nil, verdict{}},
		"a request that was not recorded":    {[]float64{5}, []float64{3, 5.01}, nil, verdict{Duplicates: 1}},
		"two requests within an attempt":     {[]float64{5}, []float64{5.01, 5.02}, nil, verdict{Duplicates: 1}},
		"in flight at a kill":                {[]float64{12}, []float64{9.9, 12}, []loss{killed(9)}, verdict{Duplicates: 1, AllowedDuplicates: 1}},
		"recorded long before a kill":        {[]float64{12}, []float64{7.8, 12}, []loss{killed(9)}, verdict{Duplicates: 1}},
		"taken up a moment after a kill":     {[]float64{12}, []float64{10.9, 12}, []loss{killed(9)}, verdict{Duplicates: 1, AllowedDuplicates: 1}},
		"begun after a kill":                 {[]float64{12}, []float64{11.1, 12}, []loss{killed(9)}, verdict{Duplicates: 1}},
		"more than the killed one had":       {[]float64{12}, []float64{9.9, 12}, []loss{killed(0)}, verdict{Duplicates: 1}},
		"a kill explains one of a delivery":  {[]float64{12}, []float64{9.8, 9.9, 12}, []loss{killed(9)}, verdict{Duplicates: 2, AllowedDuplicates: 1}},
		"two kills explain two":              {[]float64{12}, []float64{9.8, 9.9, 12}, []loss{killed(1), killed(1)}, verdict{Duplicates: 2, AllowedDuplicates: 2}},
		"stopped before its first byte":      {[]float64{12}, []float64{12, 20.5}, []loss{resumed}, verdict{Duplicates: 1, AllowedDuplicates: 1}},
		"sent long after it was resumed":     {[]float64{12}, []float64{12, 22.5}, []loss{resumed}, verdict{Duplicates: 1}},
		"the resumed one recorded its own":   {[]float64{9.9}, []float64{9.9, 15}, []loss{resumed}, verdict{Duplicates: 1, AllowedDuplicates: 1}},
		"sent while another held the lease":  {[]float64{12}, []float64{12, 19.5}, []loss{resumed}, verdict{Duplicates: 1}},
		"a kill is no licence for others":    {[]float64{0, 12}, []float64{0, 12, 30}, []loss{killed(9)}, verdict{Duplicates: 1}},
		"an attempt's end allows some slack": {[]float64{5}, []float64{5.199}, nil, verdict{}},
		"and so does its start":              {[]float64{5}, []float64{4.901}, nil, verdict{}},
		"but not more":                       {[]float64{5}, []float64{5.201}, nil, verdict{Duplicates: 1}},
		"nor for a second request":           {[]float64{5}, []float64{5.01, 5.199}, nil, verdict{Duplicates: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var seen []receiver.Record
			for _, s := range tc.seen {
				seen = append(seen, request(s, 200))
			}
			var v verdict
			v.repeats(tried(v1alpha1.PhaseDelivered, tc.attempts...), seen, tc.losses)
			if extra := v.Duplicates - v.AllowedDuplicates; extra != len(v.unexplained) {
				t.Errorf("%d duplicates are not allowed, but %d are listed", extra, len(v.unexplained))
			}
			v.unexplained = nil
			same(t, tc.want, v)
		})
	}
}

func TestRequestsOfNoDelivery(t *testing.T) {
	var v verdict
	d := tried(v1alpha1.PhaseDelivered, 5)
	d.Name = "a"
	another := request(5.01, 200)
	another.TaskID = "b"
	v.repeats(d, []receiver.Record{another}, nil)
	v.strangers(map[string][]receiver.Record{"unheard of": {request(1, 200), request(2, 200)}})
	if v.Duplicates != 3 || v.AllowedDuplicates != 0 {
		t.Errorf("%d duplicates, %d of them allowed, want 3 and none", v.Duplicates, v.AllowedDuplicates)
	}
}

func TestInventedAnswers(t *testing.T) {
	d := tried(v1alpha1.PhaseUndeliverable, 0, 5, 10)
	d.Status.Attempts[1].StatusCode = 500
	d.Status.Attempts[2].StatusCode = 500
	var v verdict
	v.repeats(d, []receiver.Record{request(5, 500)}, nil)
	if v.Invented != 1 {
		t.Errorf("%d answers invented, want 1: the first request may not have arrived, the last had no answer", v.Invented)
	}
}

func TestMayLose(t *testing.T) {
	f := &field{perSecond: 50}
	if got := f.mayLose(10, true, time.Now()); got != 18 {
		t.Errorf("may lose %d, want the 10 that it told of and some slack", got)
	}
	if got := f.mayLose(10, true, time.Now().Add(-time.Second)); got < 118 || got > 130 {
		t.Errorf("may lose %d, want what may have begun in a second, too", got)
	}
	if got := f.mayLose(0, false, time.Now()); got != maxRequests+maxUnwritten {
		t.Errorf("may lose %d, want all that it can have", got)
	}
}

func TestRepeatsOfManyDeliveries(t *testing.T) {
	losses := []loss{{from: at(8), to: at(10), most: 2}}
	var v verdict
	for range 3 {
		v.repeats(tried(v1alpha1.PhaseDelivered, 12), []receiver.Record{request(9.9, 200), request(12, 200)}, losses)
	}
	if v.Duplicates != 3 || v.AllowedDuplicates != 2 {
		t.Errorf("%d duplicates, %d of them allowed, want 3 and the 2 that were at risk", v.Duplicates, v.AllowedDuplicates)
	}
}

func TestPunctuality(t *testing.T) {
	schedule := []time.Duration{5 * time.Second, 10 * time.Second}
	tests := map[string]struct {
		starts []float64
		want   verdict
	}{
		"one attempt":              {[]float64{0}, verdict{}},
		"exactly after the gaps":   {[]float64{0, 5.1, 15.2}, verdict{}},
		"a millisecond early":      {[]float64{0, 5.099}, verdict{EarlyRetries: 1, earliest: time.Millisecond}},
		"the second gap is longer": {[]float64{0, 5.1, 10.2}, verdict{EarlyRetries: 1, earliest: 5 * time.Second}},
		"within the jitter":        {[]float64{0, 5.6}, verdict{}},
		"late beyond the jitter":   {[]float64{0, 6.6}, verdict{MaxLateSeconds: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var v verdict
			v.punctuality(tried(v1alpha1.PhaseDelivered, tc.starts...), schedule)
			same(t, tc.want, v)
		})
	}
}

func TestLongestGap(t *testing.T) {
	tests := map[string]struct {
		seen []float64
		want time.Duration
	}{
		"none":                       {nil, 10 * time.Second},
		"in between":                 {[]float64{1, 8, 9}, 7 * time.Second},
		"in any order":               {[]float64{9, 1, 8}, 7 * time.Second},
		"at the beginning":           {[]float64{6, 9}, 6 * time.Second},
		"at the end":                 {[]float64{1, 2}, 8 * time.Second},
		"after the load: no matter":  {[]float64{4, 8, 90}, 4 * time.Second},
		"before the load: no matter": {[]float64{-50, 4, 8}, 4 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var seen []receiver.Record
			for _, s := range tc.seen {
				seen = append(seen, request(s, 200))
			}
			if got := longestGap(seen, at(0), at(10)); got != tc.want {
				t.Errorf("longest gap %s, want %s", got, tc.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		verdict verdict
		want    []string
	}{
		"all kept":           {verdict{Created: 3, Delivered: 3}, nil},
		"allowed duplicates": {verdict{Duplicates: 2, AllowedDuplicates: 2}, nil},
		"all broken": {verdict{Created: 3, Lost: 1, Duplicates: 2, AllowedDuplicates: 1, Invented: 4, EarlyRetries: 1, earliest: time.Second,
			unexplained: []string{"/ok of d1 at noon"}}, []string{"1 of 3 deliveries lost",
			"1 requests repeated without a crash: /ok of d1 at noon",
			"4 answers recorded to requests that were not made", "1 retries came early, by up to 1s"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.verdict.judge()
			if diff := cmp.Diff(tc.want, tc.verdict.Broken); diff != "" || tc.verdict.Pass != (tc.want == nil) {
				t.Errorf("pass: %t; broken (-want +got):\n%s", tc.verdict.Pass, diff)
			}
		})
	}
}

func TestAdmitted(t *testing.T) {
	const stopped = `{"level":"error","msg":"manager stopped","error":"leader election lost`
	tests := map[string]struct {
		end  string
		want int
		ok   bool
	}{
		"all written":      {stopped + `"}`, 0, true},
		"some unwritten":   {stopped + `\n12 outcomes unwritten and 3 requests in flight: these attempts will be repeated"}`, 15, true},
		"a panic":          {"panic: runtime error", 0, false},
		"ended in silence": {"", 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if n, ok := admitted(tc.end); n != tc.want || ok != tc.ok {
				t.Errorf("admitted = %d, %t, want %d, %t", n, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestPendingIn(t *testing.T) {
	const metrics = "# HELP webhookdelivery_requests_in_flight x\nwebhookdelivery_requests_in_flight 7\n" +
		"webhookdelivery_unwritten_outcomes 5\nwebhookdelivery_parked 99\n"
	if got := pendingIn(metrics); got != 12 {
		t.Errorf("pendingIn = %d, want 12", got)
	}
}

func same(t *testing.T, want, got verdict) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(verdict{}), cmp.Comparer(func(a, b float64) bool {
		return a-b < 1e-6 && b-a < 1e-6
	})); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}
