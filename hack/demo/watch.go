// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/jobs"
)

const (
	// watchLimit is when the deliveries that have not ended are reported. The schedule takes 143 s at most, and the
	// redelivery a moment.
	watchLimit = 3 * time.Minute
	// eventTimeout is how long an event may take to appear after the status.
	eventTimeout = 10 * time.Second
)

// watch shows the deliveries until they are done, which it reports, or are not in time. It applies the late Secret when
// its time has come.
func (d *demo) watch(ctx context.Context, done func([]v1alpha1.WebhookDelivery) bool) (bool, error) {
	var late <-chan time.Time
	if d.evidence.secretApplied.IsZero() {
		late = time.After(lateSecretAfter - time.Since(d.evidence.applied))
	}
	limit := time.After(watchLimit - time.Since(d.evidence.applied))
	for tick := time.NewTicker(time.Second); ; {
		deliveries, err := d.deliveries(ctx)
		if err != nil {
			return false, err
		}
		table, err := d.plane.Kubectl(ctx, "get", "webhookdeliveries", "--namespace", namespace)
		if err != nil {
			return false, err
		}
		d.screen.show(table, time.Since(d.evidence.applied))
		if done(deliveries) {
			d.screen.keep()
			return true, nil
		}
		select {
		case <-tick.C:
		case <-late:
			if err := d.applyLateSecret(ctx); err != nil {
				return false, err
			}
			d.screen.say("\nApplied %s, %.0f s after the others.", lateSecret,
				d.evidence.secretApplied.Sub(d.evidence.applied).Seconds())
		case <-limit:
			d.screen.keep()
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func haveEnded(deliveries []v1alpha1.WebhookDelivery) bool {
	for i := range deliveries {
		if !deliveries[i].IsFinished() {
			return false
		}
	}
	return len(deliveries) >= len(expectations)
}

func isRedelivered(deliveries []v1alpha1.WebhookDelivery) bool {
	return slices.ContainsFunc(deliveries, func(d v1alpha1.WebhookDelivery) bool {
		return d.Name == missed && d.IsFinished() && d.Status.Redeliveries > 0
	})
}

func (d *demo) deliveries(ctx context.Context) ([]v1alpha1.WebhookDelivery, error) {
	var list v1alpha1.WebhookDeliveryList
	err := d.client.List(ctx, &list, client.InNamespace(namespace))
	return list.Items, err
}

// conclude shows what there is to see in the end, and returns an error that says what is not as promised.
func (d *demo) conclude(ctx context.Context) error {
	if err := d.collect(ctx); err != nil {
		return err
	}
	e := d.evidence
	d.screen.say("\nThe events:\n%s\nWhat the receiver got when, and what it answered:\n%s", e.events,
		account(expectations, e))
	if problems := verify(expectations, e); len(problems) > 0 {
		return errors.New("not everything is as promised:\n- " + strings.Join(problems, "\n- "))
	}
	d.screen.say("Checked:\n%s\n\nAll is as promised. The demo took %.0f s.", checked, time.Since(d.started).Seconds())
	return nil
}

// collect collects the evidence. It stops the manager before that, so that nothing can be added afterwards.
func (d *demo) collect(ctx context.Context) (err error) {
	e := &d.evidence
	for deadline := time.Now().Add(eventTimeout); ; {
		e.events, err = d.plane.Kubectl(ctx, "get", "events", "--namespace", namespace)
		if err != nil {
			return err
		}
		if len(verifyEvents(expectations, e.events)) == 0 || time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := d.manager.Stop(); err != nil {
		return err
	}
	if e.deliveries, err = d.deliveries(ctx); err != nil {
		return err
	}
	var job batchv1.Job
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: finishedJob}, &job); err != nil {
		return err
	}
	e.notified = job.Annotations[jobs.AnnotationNotified]
	e.requests = d.receiver.Requests()
	writes, err := d.plane.Requests(ctx)
	if err != nil {
		return err
	}
	e.statusWrites = int(writes["PATCH webhookdeliveries/status"])
	log, err := os.ReadFile(d.managerLog())
	if err != nil {
		return fmt.Errorf("reading the manager's log: %w", err)
	}
	e.log = string(log)
	e.secrets, err = d.samples.secrets()
	return err
}
