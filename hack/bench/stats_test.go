// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestPercentile(t *testing.T) {
	tests := map[string]struct {
		values []float64
		p      float64
		want   float64
	}{
		"nothing":                    {nil, 0.5, 0},
		"one":                        {[]float64{7}, 0.99, 7},
		"unsorted":                   {[]float64{3, 1, 2}, 0.5, 2},
		"the nearest rank is above":  {[]float64{1, 2, 3, 4}, 0.51, 3},
		"a rank that is hit exactly": {[]float64{1, 2, 3, 4}, 0.5, 2},
		"all":                        {[]float64{1, 9, 5}, 1, 9},
		"none":                       {[]float64{4, 9, 5}, 0, 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := percentile(tt.values, tt.p); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPercentileOfHundred(t *testing.T) {
	var values []float64
	for i := range 100 {
		values = append(values, float64(100-i))
	}
	if p50, p99 := percentile(values, 0.5), percentile(values, 0.99); p50 != 50 || p99 != 99 {
		t.Errorf("p50 is %v and p99 is %v", p50, p99)
	}
	if values[0] != 100 {
		t.Error("the values were sorted in place")
	}
}

func TestMedian(t *testing.T) {
	tests := map[string]struct {
		values []float64
		want   float64
	}{
		"nothing": {nil, 0},
		"odd":     {[]float64{9, 1, 4}, 4},
		"even":    {[]float64{9, 1, 4, 6}, 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := median(tt.values); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMedianRatioComparesPairs(t *testing.T) {
	// The machine became ten times slower meanwhile: the medians of both sides alone would tell of another ratio.
	operated, floor := []float64{80, 8, 9}, []float64{100, 10, 100}
	if got := medianRatio(operated, floor, func(v float64) float64 { return v }); got != 0.8 {
		t.Errorf("got %v, want 0.8", got)
	}
}

func TestRatioIsAlwaysANumber(t *testing.T) {
	if got := ratio(1, 0); got != 0 {
		t.Errorf("1/0 is %v", got)
	}
	if got := ratio(1, 4); got != 0.25 {
		t.Errorf("1/4 is %v", got)
	}
}
