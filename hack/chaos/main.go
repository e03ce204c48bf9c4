// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Chaos puts the operator under a steady load, breaks what it depends on, and accounts afterwards for every delivery
// and every request. It prints a table, writes bin/chaos.json, and fails if a promise was broken.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/webhookdelivery/operator/hack/operator"
)

func main() {
	var names string
	load := load{}
	seconds := flag.Int("seconds", 60, "how long the load lasts")
	flag.StringVar(&names, "scenario", "", "comma-separated scenarios (default all)")
	flag.IntVar(&load.perSecond, "n", 200, "deliveries created in a second")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // what envtest says is not what was asked for
	load.lasts = time.Duration(*seconds) * time.Second
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, names, load); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs the named scenarios one after the other and reports them.
func run(ctx context.Context, names string, load load) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if err := operator.Build(ctx); err != nil {
		return err
	}
	var verdicts []verdict
	var failed []error
	for _, s := range chosen {
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.what)
		v, err := play(ctx, s, load, defaultPace())
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		verdicts = append(verdicts, v)
		for _, broken := range v.Broken {
			failed = append(failed, fmt.Errorf("%s: %s", s.name, broken))
		}
	}
	return errors.Join(append(failed, report(verdicts))...)
}

func choose(names string) ([]scenario, error) {
	if names == "" {
		return scenarios, nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(names, ",") {
		i := indexOf(name)
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q: choose from %s", name, strings.Join(scenarioNames(), ", "))
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}

// report prints the verdicts and writes them to bin/chaos.json.
func report(verdicts []verdict) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SCENARIO\tCREATED\tDELIVERED\tUNDELIVERABLE\tLOST\tDUPLICATES\tALLOWED\tAT RISK\tEARLY\t"+
		"MAX LATE\tGAP\tPASS")
	for _, v := range verdicts {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1fs\t%.1fs\t%t\n", v.Scenario, v.Created, v.Delivered,
			v.Undeliverable, v.Lost, v.Duplicates, v.AllowedDuplicates, v.AtRisk, v.EarlyRetries,
			v.MaxLateSeconds, v.LongestGapSeconds, v.Pass)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(verdicts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(operator.Root(), "bin", "chaos.json"), append(raw, '\n'), 0o600)
}
