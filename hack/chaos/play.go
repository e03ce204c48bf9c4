// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// load is how many deliveries are created, and for how long.
type load struct {
	perSecond int
	lasts     time.Duration
}

// settleTime is how long the operator has, after everything is mended, to end all deliveries.
const settleTime = 3 * time.Minute

// play plays one scenario from an empty control plane to the verdict.
func play(ctx context.Context, s scenario, l load, p pace) (v verdict, err error) {
	f, err := newField(ctx, p)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.perSecond = l.perSecond
	var work sync.WaitGroup
	var created int
	var createErr, injectErr error
	work.Go(func() { created, createErr = f.create(ctx, l) })
	work.Go(func() { injectErr = s.inject(ctx, f, l.lasts) })
	work.Wait()
	if err := errors.Join(createErr, injectErr); err != nil {
		return v, err
	}
	if err := f.waitUntilEnded(ctx); err != nil {
		return v, err
	}
	f.mu.Lock()
	problem := f.problem
	f.mu.Unlock()
	if problem != nil {
		return v, problem
	}
	return f.account(ctx, s.name, created)
}

// create creates deliveries at a steady rate, each until the API server has taken it, and returns how many.
func (f *field) create(ctx context.Context, l load) (int, error) {
	n := l.perSecond * int(l.lasts/time.Second)
	slots := make(chan struct{}, 64)
	var mu sync.Mutex
	var problem error
	var calls sync.WaitGroup
	f.began = time.Now()
	for i := range n {
		if err := pause(ctx, time.Until(f.began.Add(time.Duration(i)*time.Second/time.Duration(l.perSecond)))); err != nil {
			return i, err
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			if err := f.createOne(ctx, i); err != nil {
				mu.Lock()
				problem = err
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	f.ended = time.Now()
	return n, problem
}

func (f *field) createOne(ctx context.Context, i int) error {
	return wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, 2*time.Minute, true,
		func(ctx context.Context) (bool, error) {
			err := f.cluster.Create(ctx, f.delivery(i))
			if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
				return false, err
			}
			return err == nil || apierrors.IsAlreadyExists(err), nil
		})
}

// delivery is the i-th delivery. Of a hundred, 82 are accepted at once, 10 at the second attempt, 6 never, and 2 go to
// the receiver that does not answer.
func (f *field) delivery(i int) *v1alpha1.WebhookDelivery {
	d := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("d%06d", i)}}
	d.Spec.Payload, _ = payload.New(map[string]string{"task_id": d.Name, "task_type": "imagine", "status": "finished"})
	d.Spec.URL = f.good.URL() + "/ok"
	switch kind := i * 37 % 100; {
	case kind < 10:
		d.Spec.URL = f.good.URL() + "/fail-first/1"
	case kind < 16:
		d.Spec.URL = f.good.URL() + "/status/500"
	case kind < 18:
		d.Spec.URL = f.hanging.URL() + "/hang"
	}
	return d
}

// refuses reports whether the receiver at that URL never accepts a delivery.
func refuses(url string) bool {
	return strings.HasSuffix(url, "/status/500") || strings.HasSuffix(url, "/hang")
}

// waitUntilEnded returns when no delivery is unfinished, or after settleTime: what is then unfinished is lost.
func (f *field) waitUntilEnded(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, time.Second, settleTime, true,
		func(ctx context.Context) (bool, error) {
			open := &v1alpha1.WebhookDeliveryList{}
			err := f.cluster.List(ctx, open, client.InNamespace(namespace), client.Limit(1),
				client.MatchingFieldsSelector{Selector: unfinished})
			return err == nil && len(open.Items) == 0, nil
		})
	if ctx.Err() == nil && wait.Interrupted(err) {
		return nil
	}
	return err
}
