// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/webhookdelivery/operator/hack/operator"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	err := operator.Build(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// shortPace is the quickest that the manager accepts: a lease outlasts a request, its margin and two renewals.
func shortPace() pace {
	return pace{
		schedule:       []time.Duration{time.Second, 2 * time.Second, 3 * time.Second},
		requestTimeout: 2 * time.Second, lease: 6 * time.Second, retryPeriod: time.Second,
		killEvery: 2 * time.Second, outage: 7 * time.Second, watchLag: 2 * time.Second,
	}
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v, err := play(t.Context(), s, load{perSecond: 25, lasts: 6 * time.Second}, shortPace())
			if err != nil {
				t.Fatal(err)
			}
			for _, broken := range v.Broken {
				t.Error(broken)
			}
			if v.Created != 150 || v.Delivered+v.Undeliverable != 150 || !v.Pass {
				t.Errorf("verdict %+v, want 150 deliveries that ended", v)
			}
			t.Logf("%+v", v)
		})
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil || len(all) != len(scenarios) {
		t.Errorf("%d scenarios by default, want all %d: %v", len(all), len(scenarios), err)
	}
	some, err := choose("watch-lag,calm")
	if err != nil || len(some) != 2 || some[0].name != "watch-lag" || some[1].name != "calm" {
		t.Errorf("chosen by name: %d, %v", len(some), err)
	}
	const want = `there is no scenario "storm": choose from calm, kill-leader, rolling-restart, pause-leader, ` +
		`apiserver-outage, etcd-outage, write-faults, watch-lag`
	if _, err := choose("storm"); err == nil || err.Error() != want {
		t.Errorf("an unknown name: %v", err)
	}
}
