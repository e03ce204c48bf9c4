// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// figure is one number that a scenario has measured.
type figure struct {
	name  string
	value float64
}

// figures are what a scenario has measured, in the order to print them in.
type figures []figure

func (f *figures) add(name string, value float64) { *f = append(*f, figure{name, value}) }

// report is what all scenarios have measured.
type report struct {
	scenarios []string
	figures   map[string]figures
}

func (r *report) add(scenario string, f figures) {
	if r.figures == nil {
		r.figures = map[string]figures{}
	}
	r.scenarios = append(r.scenarios, scenario)
	r.figures[scenario] = f
}

// table writes the figures for people, with the goal beside each that has one.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tMETRIC\tVALUE\tGOAL\t")
	for _, scenario := range r.scenarios {
		for _, f := range r.figures[scenario] {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", scenario, f.name, text(f.value), verdict(scenario, f))
		}
	}
	return t.Flush()
}

// text shows three digits where there are three to show.
func text(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}

// save writes the figures for programs: {scenario: {metric: number}}.
func (r *report) save(path string) error {
	all := map[string]map[string]float64{}
	for scenario, list := range r.figures {
		all[scenario] = map[string]float64{}
		for _, f := range list {
			all[scenario][f.name] = f.value
		}
	}
	body, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	if err := os.WriteFile(path, append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	return nil
}

// goal is a bound that the product has set itself. All goals are ratios to a reference of the same run, or do not
// depend on the machine's speed, but for those in milliseconds, which leave room for a slow one.
type goal struct {
	atMost bool
	bound  float64
}

// goals are by scenario and metric. They only mark the table: a benchmark on a busy machine may miss them.
var goals = map[string]goal{
	"throughput ratio":               {bound: 0.8},
	"throughput writes_per_delivery": {atMost: true, bound: 1.01}, // the lease is renewed meanwhile
	"throughput reads_per_delivery":  {atMost: true, bound: 0.05},
	"latency p50_ratio":              {atMost: true, bound: 1.5},
	"latency p99_ratio":              {atMost: true, bound: 1.5},
	"admission ratio":                {bound: 0.9},
	"punctuality early":              {atMost: true, bound: 0},
	"punctuality p99_late_ms":        {atMost: true, bound: 250},
	"history rss_mib_more":           {atMost: true, bound: 20},
	"pending bytes_per_object":       {atMost: true, bound: 4096},
	"fairness ratio":                 {atMost: true, bound: 1.1},
}

// verdict says what the goal of a figure is and whether it is reached; nothing if it has none.
func verdict(scenario string, f figure) string {
	g, ok := goals[scenario+" "+f.name]
	if !ok {
		return ""
	}
	sign, reached := ">=", f.value >= g.bound
	if g.atMost {
		sign, reached = "<=", f.value <= g.bound
	}
	if reached {
		return fmt.Sprintf("%s %s reached", sign, text(g.bound))
	}
	return fmt.Sprintf("%s %s MISSED", sign, text(g.bound))
}
