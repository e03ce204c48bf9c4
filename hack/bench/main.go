// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator: the real manager as a process of its own with the shipped rights, on a real
// kube-apiserver and etcd, all on this machine. Every scenario measures its own reference in the same run, so that what
// counts is a ratio. It prints a table, and writes bin/bench.json: {scenario: {metric: number}}.
//
// Generator and receiver run in this process, on the same processors as what they measure; what they use is reported as
// the harness's share. It takes /proc, so it runs on Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/webhookdelivery/operator/hack/operator"
)

// settings are what the flags set.
type settings struct {
	scenario string
	seconds  int
	n        int
	rounds   int
	clients  int
	rate     int
	profiles string
	timeout  time.Duration
	progress func(format string, args ...any)
}

// count is how many objects a scenario works with, unless the flag says otherwise.
func (s settings) count(normally int) int {
	if s.n > 0 {
		return s.n
	}
	return normally
}

// fewerRounds is for what takes long, so that all scenarios together do not.
func (s settings) fewerRounds() int { return max(1, s.rounds-1) }

// duration is how long a scenario lasts whose length is given by time, unless the flag says otherwise.
func (s settings) duration(normally time.Duration) time.Duration {
	if s.seconds > 0 {
		return time.Duration(s.seconds) * time.Second
	}
	return normally
}

// scenario measures something, always beside its own reference.
type scenario struct {
	name    string
	measure func(context.Context, settings) (figures, error)
}

// scenarios are all there are, in the order in which they run.
var scenarios = []scenario{
	{"throughput", throughput},
	{"latency", latency},
	{"admission", admission},
	{"punctuality", punctuality},
	{"history", history},
	{"pending", pending},
	{"fairness", fairness},
	{"payload", payloads},
	{"growth", growth},
}

// choose returns the scenarios of a comma-separated list of names, all if it is empty.
func choose(list string) ([]scenario, error) {
	if list == "" {
		return scenarios, nil
	}
	var known []string
	byName := map[string]scenario{}
	for _, s := range scenarios {
		known = append(known, s.name)
		byName[s.name] = s
	}
	var chosen []scenario
	for name := range strings.SplitSeq(list, ",") {
		s, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("there is no scenario %q: choose from %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

func main() {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer release()
	log.SetLogger(logr.Discard()) // what starts the control plane logs nothing that its errors do not tell
	s := settings{progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }}
	s.bind(flag.CommandLine)
	flag.Parse()
	if err := bench(ctx, s); err != nil {
		fmt.Fprintf(os.Stderr, "The benchmark failed: %v\n", err)
		os.Exit(1)
	}
}

func (s *settings) bind(f *flag.FlagSet) {
	f.StringVar(&s.scenario, "scenario", "", "comma-separated scenarios to run (default all)")
	f.IntVar(&s.seconds, "seconds", 0, "length of latency and punctuality (default each its own)")
	f.IntVar(&s.n, "n", 0, "number of objects (default each scenario's own)")
	f.IntVar(&s.rounds, "rounds", 3, "how often to measure in turns; figures are medians")
	f.IntVar(&s.clients, "clients", 64, "creates in flight at most")
	f.IntVar(&s.rate, "rate", 100, "creates a second in latency")
	f.StringVar(&s.profiles, "profiles", "", "directory for profiles of manager and API server in throughput")
	f.DurationVar(&s.timeout, "timeout", 15*time.Minute, "how long one scenario may take")
}

// bench runs the chosen scenarios and reports. What has been measured is reported even if a later scenario fails.
func bench(ctx context.Context, s settings) error {
	chosen, err := choose(s.scenario)
	if err != nil {
		return err
	}
	if s.rounds < 1 || s.clients < 1 || s.rate < 1 {
		return fmt.Errorf("-rounds, -clients and -rate must be at least 1")
	}
	if err := operator.Build(ctx); err != nil {
		return err
	}
	var r report
	for _, scenario := range chosen {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s\n", scenario.name)
		var f figures
		if f, err = s.limited(ctx, scenario); err != nil {
			err = fmt.Errorf("%s: %w", scenario.name, err)
			break
		}
		r.add(scenario.name, f)
		fmt.Fprintf(os.Stderr, "  took %.0f s\n", time.Since(began).Seconds())
	}
	if len(r.scenarios) == 0 {
		return err
	}
	return errors.Join(err, r.table(os.Stdout), r.save(filepath.Join(operator.Root(), "bin", "bench.json")))
}

func (s settings) limited(ctx context.Context, scenario scenario) (figures, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("it did not finish within %s", s.timeout))
	defer cancel()
	return scenario.measure(ctx, s)
}
