// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package delivery is the controller that makes and records the attempts of every WebhookDelivery. Data flows one way:
// watch, queue, Reconcile (plan, lane, sender, status, one patch), queue.
package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

// staleRetry is when to look again at an object whose cached copy is too old to act on.
const staleRetry = 100 * time.Millisecond

// Sender makes one request and tells what came of it; *sender.Sender in production.
type Sender interface {
	Send(ctx context.Context, req sender.Request) sender.Result
}

// Reconciler makes the attempts of each WebhookDelivery and records them.
type Reconciler struct {
	policy       Policy
	options      Options
	cache        cache.Cache   // unfinished objects, shared: what is read from it is never changed
	labelled     cache.Cache   // objects, finished ones too, that are to be delivered again; shared, too
	live         client.Reader // the API server
	writer       client.Client
	informer     atomic.Pointer[cache.Informer] // of cache, once the controller has started
	sender       Sender
	secrets      *secrets
	queue        queue
	lanes        *lanes.Lanes[types.NamespacedName]
	ledger       *ledger
	events       *eventWriter
	redeliveries flowcontrol.RateLimiter
	maySend      func() bool
	jitter       func() float64
}

// Reconcile brings one delivery one step further: it makes an attempt that is due, records what came of an attempt, or
// tells when to look again.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key, now := req.NamespacedName, time.Now()
	if out := r.ledger.held(key); out != nil {
		return r.record(context.WithoutCancel(ctx), key, out)
	}
	d, retry, err := r.read(ctx, key)
	if d == nil {
		r.lanes.Forget(key)
		return ctrl.Result{RequeueAfter: retry}, err
	}
	if d.IsFinished() && r.ledger.isRefused(key) {
		r.lanes.Forget(key)
		return r.offerAgain(ctx, key, d)
	}
	due := r.ledger.due(key, d, func() time.Time { return r.policy.dueTime(d, now) })
	step := r.policy.plan(d, due, now)
	if step.action != send {
		r.lanes.Forget(key)
	}
	switch step.action {
	case send:
		return r.attempt(ctx, key, d)
	case note:
		return r.write(ctx, key, d, afterNote(d, step, now), step.after)
	case finish:
		return r.write(ctx, key, d, afterFinish(d, step, now), 0)
	case accept:
		return r.accept(ctx, key, d, now)
	case unlabel:
		return r.unlabel(ctx, key, d)
	case wait:
		return ctrl.Result{RequeueAfter: step.after}, nil
	}
	return ctrl.Result{}, nil
}

// read returns what is known of key, or nil when there is nothing to act on, with when to look again.
func (r *Reconciler) read(
	ctx context.Context, key types.NamespacedName,
) (*v1alpha1.WebhookDelivery, time.Duration, error) {
	d, err := r.newest(ctx, key)
	switch {
	case err != nil:
		return nil, 0, err
	case d == nil:
		if !r.ledger.forget(key, r.version()) {
			return nil, staleRetry, nil
		}
		return nil, 0, nil
	case r.ledger.isStale(key, d):
		staleTotal.Inc()
		return nil, staleRetry, nil
	}
	if known := r.ledger.known(key, d.UID); known != nil {
		overlaid := *d
		overlaid.Status = *known
		d = &overlaid
	}
	return d, 0, nil
}

// newest returns the newer of the two cached views of key; nil if it is in neither.
func (r *Reconciler) newest(ctx context.Context, key types.NamespacedName) (newest *v1alpha1.WebhookDelivery, _ error) {
	for _, view := range []cache.Cache{r.cache, r.labelled} {
		d := &v1alpha1.WebhookDelivery{}
		err := view.Get(ctx, key, d, client.UnsafeDisableDeepCopy)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("reading from the cache: %w", err)
		case newest == nil || isOlder(newest.ResourceVersion, d.ResourceVersion):
			newest = d
		}
	}
	return newest, nil
}
