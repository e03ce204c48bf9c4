// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	var r report
	r.add("throughput", figures{{"ratio", 0.91}, {"floor_per_second", 512.4}})
	r.add("latency", figures{{"p99_ratio", 1.625}})

	var out strings.Builder
	if err := r.table(&out); err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Fields(line))
	}
	want := [][]string{
		{"SCENARIO", "METRIC", "VALUE", "GOAL"},
		{"throughput", "ratio", "0.91", ">=", "0.8", "reached"},
		{"throughput", "floor_per_second", "512"},
		{"latency", "p99_ratio", "1.625", "<=", "1.5", "MISSED"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}

	path := filepath.Join(t.TempDir(), "bin", "bench.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var saved map[string]map[string]float64
	if err := json.Unmarshal(text, &saved); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]map[string]float64{
		"throughput": {"ratio": 0.91, "floor_per_second": 512.4},
		"latency":    {"p99_ratio": 1.625},
	}
	if diff := cmp.Diff(numbers, saved); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
}

func TestText(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 3: "3", -1.195: "-1.195", 0.0004: "0", 0.25: "0.25", 12.34: "12.3", 512.6: "513", 100_000: "100000",
	} {
		if got := text(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := map[string]struct {
		scenario, metric string
		value            float64
		want             string
	}{
		"at least, reached exactly": {"throughput", "ratio", 0.8, ">= 0.8 reached"},
		"at least, missed":          {"throughput", "ratio", 0.79, ">= 0.8 MISSED"},
		"at most, reached exactly":  {"punctuality", "early", 0, "<= 0 reached"},
		"at most, missed":           {"punctuality", "early", 1, "<= 0 MISSED"},
		"no goal":                   {"throughput", "floor_per_second", 1, ""},
		"of another scenario":       {"latency", "ratio", 1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := verdict(tt.scenario, figure{tt.metric, tt.value}); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
