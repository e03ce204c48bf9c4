// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the operator at work on a real kube-apiserver, and checks what it shows: six deliveries, from one
// that succeeds at once to one that is given up after the whole retry schedule, fetched by its receiver and delivered
// again. It takes about two and a half minutes, exits 0 if everything was as promised, and leaves nothing running
// however it ends.
//
// With -stay it leaves the operator, the receiver and their API server running, to be tried by hand.
//
// It needs bin/manager and the control plane's binaries, which `make build controlplane` makes.
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

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// timeLimit leaves half a minute of the five that the demo may take for stopping, which is bounded as well.
const timeLimit = 4*time.Minute + 30*time.Second

func main() {
	var d demo
	flag.BoolVar(&d.stays, "stay", false, "leave everything running until Ctrl-C")
	flag.BoolVar(&d.watched, "prometheus", false, "run bin/tools/prometheus, too, with the alerts that config ships")
	flag.Parse()
	// Without SIGPIPE here, a reader that leaves would end this process before it has stopped the others.
	ctx, release := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer release()
	if !d.stays {
		limited, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("it did not finish within %s", timeLimit))
		defer cancel()
		ctx = limited
	}
	if err := d.run(ctx, newScreen(os.Stdout)); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

// endWithParent ends the demo when the process that started it is gone: `go run` does not pass SIGTERM on.
func endWithParent(ctx context.Context, parent int, end context.CancelCauseFunc) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if os.Getppid() != parent {
			end(fmt.Errorf("the process that started it is gone: %w", context.Canceled))
			return
		}
	}
}

// demo is what is running, and what is to be remembered of it.
type demo struct {
	stays   bool // until it is interrupted
	watched bool // by Prometheus

	screen  *screen
	started time.Time
	root    string // of the repository
	scratch string
	fail    context.CancelCauseFunc
	cleanup []func() error // what to do at the end, last first

	samples    samples
	plane      *controlplane.ControlPlane
	client     client.Client
	receiver   *receiver.Server
	manager    *operator.Process
	kubeconfig string // of the operator
	fetch      endpoint
	prometheus string // its address, if it runs

	evidence evidence // as far as there is any
}

// step is one thing that the demo does.
type step struct {
	name string
	do   func(context.Context) (result string, err error)
}

// beginning is what there is to do before there is something to watch.
func (d *demo) beginning() []step {
	steps := []step{
		{"Starting etcd and kube-apiserver", d.startControlPlane},
		{"Installing CRD, RBAC, policies, flow control", d.install},
		{"Starting the receiver", d.startReceiver},
		{"Starting the manager with the shipped RBAC only", d.startManager},
	}
	if d.watched {
		steps = append(steps, step{"Starting Prometheus", d.startPrometheus})
	}
	return append(steps,
		step{"Applying config/samples", d.applySamples},
		step{"Ending the Job in its controller's place", d.endJob})
}

// sequel is what there is to do about the delivery that has been given up.
func (d *demo) sequel() []step {
	return []step{
		{"The receiver fetches what it missed: GET /fetch", d.fetchMissed},
		{"It recovers: kubectl label whd " + missed, d.redeliver},
	}
}

// run plays the demo, stops whatever was started, and returns what went wrong.
func (d *demo) run(ctx context.Context, s *screen) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	d.screen, d.started, d.root, d.fail = s, time.Now(), filepath.Dir(filepath.Dir(controlplane.BinDir())), fail
	go endWithParent(ctx, os.Getppid(), fail)
	err := d.play(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx) // whatever failed after that failed because of it
		s.keep()
		s.say("\nStopping everything.")
	}
	err = errors.Join(err, d.stop())
	if d.stays && errors.Is(err, context.Canceled) {
		err = nil // that is how it is meant to end
	}
	log := operator.Tail(d.managerLog(), 40)
	if err == nil || errors.Is(err, context.Canceled) || log == "" {
		return errors.Join(err, os.RemoveAll(d.scratch))
	}
	return fmt.Errorf("%w%s", err, log) // the scratch directory stays, for the whole log is there
}

func (d *demo) play(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	if !d.stays {
		d.screen.say("Six deliveries on a real API server, in about 2 min 30 s. Ctrl-C ends it.\n")
	}
	if err := d.take(ctx, d.beginning()); err != nil {
		return err
	}
	if d.stays {
		return d.stay(ctx)
	}
	ended, err := d.watch(ctx, haveEnded)
	if err != nil {
		return err
	}
	if ended {
		d.screen.say("")
		if err := d.take(ctx, d.sequel()); err != nil {
			return err
		}
		if _, err := d.watch(ctx, isRedelivered); err != nil {
			return err
		}
	}
	return d.conclude(ctx) // it says what is missing
}

// take takes the steps and shows how long each of them took.
func (d *demo) take(ctx context.Context, steps []step) error {
	for _, step := range steps {
		began := time.Now()
		d.screen.begin(step.name)
		result, err := step.do(ctx)
		if err != nil {
			d.screen.say("failed")
			return err
		}
		d.screen.say("%s", strings.TrimSpace(fmt.Sprintf("%.1f s   %s", time.Since(began).Seconds(), result)))
	}
	return nil
}

// prepare fails early if something is missing that the demo comes to need.
func (d *demo) prepare() (err error) {
	if d.scratch, err = os.MkdirTemp("", "webhookdelivery-demo-"); err != nil {
		return err
	}
	if _, err := os.Stat(operator.Binary()); err != nil {
		return fmt.Errorf("the manager is missing, run `make build`: %w", err)
	}
	d.samples, err = readSamples(filepath.Join(d.root, "config", "samples"))
	return err
}

// stop stops what was started, last first. All of it takes at most half a minute.
func (d *demo) stop() error {
	var errs []error
	for len(d.cleanup) > 0 {
		last := len(d.cleanup) - 1
		errs = append(errs, d.cleanup[last]())
		d.cleanup = d.cleanup[:last]
	}
	return errors.Join(errs...)
}
