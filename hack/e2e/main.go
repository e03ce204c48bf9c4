// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// E2e installs the operator into the cluster that KUBECONFIG names, beside a receiver, tries there what needs a real
// node, uninstalls it, and compares the cluster with what it was before. What a step says is counted at the receiver
// and in the objects, never in logs. It prints a table and fails if a promise was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// runTimeout bounds the steps, cleanTimeout what is done after them whatever they came to.
	runTimeout   = 9 * time.Minute
	cleanTimeout = 2 * time.Minute
)

func main() {
	var o options
	flag.StringVar(&o.manifests, "manifests", "dist/install.yaml", "what to install, made from hack/e2e/operator")
	flag.StringVar(&o.kubectl, "kubectl", "kubectl", "kubectl")
	flag.StringVar(&o.logs, "logs", "dist/e2e", "directory for what is worth knowing after a failure")
	flag.StringVar(&o.only, "steps", "", "comma-separated steps to try (default all), beside those that all need")
	flag.Float64Var(&o.perSecond, "rate", 40, "deliveries created in a second, where a step makes a load")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // what client libraries say is not what was asked for
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are what the flags set.
type options struct {
	manifests, kubectl, logs, only string
	perSecond                      float64
}

// result is what came of one step.
type result struct {
	step
	tally
	note  string
	err   error
	lasts time.Duration
}

// run plays all steps and cleans up. A step that fails does not keep the next ones from being tried, but for those
// without which there is nothing to try.
func run(ctx context.Context, o options) error {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	s, err := newStage(o)
	if err != nil {
		return err
	}
	if err := s.vacant(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var results []result
	for _, step := range chosen {
		r := s.play(limited, step)
		results = append(results, r)
		if r.err != nil && (step.essential || limited.Err() != nil) {
			break
		}
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	results = append(results, s.play(cleaning, uninstalled))
	return errors.Join(report(results), failures(results))
}

// play runs one step.
func (s *stage) play(ctx context.Context, step step) result {
	fmt.Fprintf(os.Stderr, "%s: %s\n", step.name, step.what)
	r := result{step: step}
	began := time.Now()
	r.tally, r.note, r.err = step.run(ctx, s)
	r.err = errors.Join(r.err, r.broken())
	r.lasts = time.Since(began)
	if r.err != nil {
		fmt.Fprintf(os.Stderr, "%s: FAILED after %s: %v\n", step.name, r.lasts.Round(time.Second), r.err)
		s.diagnose(context.WithoutCancel(ctx), step.name)
	}
	return r
}

func failures(results []result) error {
	var failed []error
	for _, r := range results {
		if r.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.name, r.err))
		}
	}
	return errors.Join(failed...)
}

// report prints what came of the steps.
func report(results []result) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "STEP\tDELIVERIES\tREQUESTS\tLOST\tDUPLICATES\tALLOWED\tEARLY\tSECONDS\tPASS\tSEEN")
	var total time.Duration
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%t\t%s\n", r.name, r.deliveries, r.requests, r.lost,
			r.duplicates, r.allowed, r.early, r.lasts.Seconds(), r.err == nil, r.note)
		total += r.lasts
	}
	fmt.Fprintf(table, "total\t\t\t\t\t\t\t%.0f\t%t\t\n", total.Seconds(), failures(results) == nil)
	return table.Flush()
}
