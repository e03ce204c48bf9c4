// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// stepLabel says which step a delivery belongs to.
const stepLabel = "e2e-step"

// load is what a step has delivered.
type load struct {
	step string
	n    int
	// path is the receiver's behaviour.
	path string
	// ballast is how many bytes each payload has beside what is in every one.
	ballast int
}

// delivery is the i-th of the load.
func (l load) delivery(i int) (*v1alpha1.WebhookDelivery, error) {
	d := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: fmt.Sprintf("%s-%05d", l.step, i), Labels: map[string]string{stepLabel: l.step},
	}}
	members := map[string]string{"task_id": d.Name, "task_type": "imagine", "status": "finished"}
	if l.ballast > 0 {
		members["ballast"] = strings.Repeat("b", l.ballast)
	}
	var err error
	d.Spec.Payload, err = payload.New(members)
	d.Spec.URL = receiverURL + l.path
	d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "webhook-secret"}
	return d, err
}

// create creates the deliveries at the steady rate.
func (s *stage) create(ctx context.Context, l load) error { return s.createUntil(ctx, ctx, l) }

// createUntil creates them until enough is done.
func (s *stage) createUntil(ctx, enough context.Context, l load) error {
	limiter := rate.NewLimiter(rate.Limit(s.perSecond), 1)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range l.n {
		if limiter.Wait(enough) != nil || ctx.Err() != nil {
			break // the group has the cause
		}
		group.Go(func() error {
			d, err := l.delivery(i)
			if err != nil {
				return err
			}
			return s.Create(ctx, d)
		})
	}
	return group.Wait()
}

// underLoad has disrupt run as soon as the receiver has seen a quarter of the load, and counts when all has ended.
func (s *stage) underLoad(ctx context.Context, l load, disrupt func(context.Context) error) (tally, error) {
	before, err := s.snapshot(ctx)
	if err != nil {
		return tally{}, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.create(groupCtx, l) })
	group.Go(func() error {
		err := eventually(groupCtx, time.Minute, func(ctx context.Context) error {
			now, err := s.snapshot(ctx)
			if err == nil && now.Requests < before.Requests+l.n/4 {
				err = fmt.Errorf("%d requests", now.Requests-before.Requests)
			}
			return err
		})
		if err != nil {
			return err
		}
		return disrupt(groupCtx)
	})
	if err := group.Wait(); err != nil {
		return tally{}, err
	}
	return s.settle(ctx, l, time.Minute)
}

// settle waits until the load has ended, and counts.
func (s *stage) settle(ctx context.Context, l load, within time.Duration) (tally, error) {
	problem := s.reach(ctx, l, within, (*v1alpha1.WebhookDelivery).IsFinished)
	t, err := s.countLoad(ctx, l)
	if t.lost == 0 && err == nil {
		return t, problem
	}
	return t, err // lost says the same as problem, in numbers
}

// reach waits until every delivery of the load is as wanted.
func (s *stage) reach(
	ctx context.Context, l load, within time.Duration, wanted func(*v1alpha1.WebhookDelivery) bool,
) error {
	return eventually(ctx, within, func(ctx context.Context) error {
		stored, err := s.stored(ctx, l.step)
		if err != nil {
			return err
		}
		n := 0
		for i := range stored {
			if wanted(&stored[i]) {
				n++
			}
		}
		if n != l.n {
			return fmt.Errorf("%d of %d deliveries", n, l.n)
		}
		return nil
	})
}

// stored are the deliveries of a step.
func (s *stage) stored(ctx context.Context, step string) ([]v1alpha1.WebhookDelivery, error) {
	var list v1alpha1.WebhookDeliveryList
	err := s.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{stepLabel: step})
	return list.Items, err
}

func (s *stage) countLoad(ctx context.Context, l load) (tally, error) {
	stored, err := s.stored(ctx, l.step)
	if err != nil {
		return tally{}, err
	}
	seen, err := s.account(ctx)
	return count(l.n, stored, seen), err
}

func isRetrying(d *v1alpha1.WebhookDelivery) bool { return d.Status.Phase == v1alpha1.PhaseRetrying }
