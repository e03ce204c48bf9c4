// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
)

const (
	controllerName = "webhookdelivery"

	// writers are the workers beyond those that requests may hold: they plan, and write what has come back.
	writers = 64

	// cacheSyncTimeout is how long the first list may take.
	cacheSyncTimeout = 10 * time.Minute

	// writes that fail are repeated after 100 ms at first, and at most after 10 s.
	firstWriteRetry = 100 * time.Millisecond
	lastWriteRetry  = 10 * time.Second
)

// Options bound what the controller does at once.
type Options struct {
	// Limits bound the requests in flight.
	Limits lanes.Limits
	// MaxUnwritten is how many outcomes may wait to be written before no further request is made.
	MaxUnwritten int
	// ShutdownFlush is how long a shutdown waits for requests in flight and for writing their outcomes.
	ShutdownFlush time.Duration
}

// DefaultOptions suit one replica with half a gibibyte of memory.
func DefaultOptions() Options {
	return Options{
		Limits:       lanes.Limits{Total: 512, PerEndpoint: 64, PerNamespace: 256},
		MaxUnwritten: 1024,
	}
}

// Dependencies are what the controller works with.
type Dependencies struct {
	// Cache holds the unfinished objects: see CachedObjects.
	Cache cache.Cache
	// Labelled holds the objects that are to be delivered again: see LabelledObjects.
	Labelled cache.Cache
	// Live reads from the API server.
	Live client.Reader
	// Writer writes status, and takes labels away.
	Writer client.Client
	// Events records events.
	Events events.EventRecorder
	// Sender makes the requests.
	Sender Sender
	// MaySend reports whether a request that begins now ends before this process stops being the leader. Nil: always.
	MaySend func() bool
	// Jitter returns a random number in [0, 1). Nil: math/rand's.
	Jitter func() float64
}

// CachedObjects tells the manager's cache to hold unfinished objects only, without what the controller does not need.
// A final status makes the API server take the object out of the watch, so memory follows what is pending.
func CachedObjects() cache.ByObject {
	return cache.ByObject{
		Field: fields.AndSelectors(
			fields.OneTermNotEqualSelector("status.phase", string(v1alpha1.PhaseDelivered)),
			fields.OneTermNotEqualSelector("status.phase", string(v1alpha1.PhaseUndeliverable)),
		),
		Transform: strip,
	}
}

// LabelledObjects tells a second cache to hold only the objects that are labelled to be delivered again: finished ones
// among them, which CachedObjects leaves out. One cache cannot select by both.
func LabelledObjects() cache.ByObject {
	return cache.ByObject{
		Label:     labels.SelectorFromSet(labels.Set{v1alpha1.LabelRedeliver: "true"}),
		Transform: strip,
	}
}

// New returns the reconciler of WebhookDelivery.
func New(policy Policy, options Options, deps Dependencies) (*Reconciler, error) {
	if err := policy.Validate(); err != nil {
		return nil, err
	}
	if options.MaxUnwritten < 1 {
		return nil, errors.New("the number of outcomes that may wait to be written must be at least 1")
	}
	r := &Reconciler{
		policy: policy, options: options,
		cache: deps.Cache, labelled: deps.Labelled, live: deps.Live, writer: deps.Writer,
		sender: deps.Sender, secrets: newSecrets(deps.Live), ledger: newLedger(), events: newEventWriter(deps.Events),
		redeliveries: newRedeliveryLimiter(), maySend: deps.MaySend, jitter: deps.Jitter,
	}
	if r.maySend == nil {
		r.maySend = func() bool { return true }
	}
	if r.jitter == nil {
		r.jitter = rand.Float64
	}
	var err error
	r.lanes, err = lanes.New(options.Limits, r.wake)
	return r, err
}

// SetupWithManager adds the controller to mgr, to run on the leader.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	c, err := r.newController(mgr.GetLogger(), false)
	if err != nil {
		return err
	}
	// Flushing is one of the runnables that the manager waits for, so that the lease is released after it.
	flush := manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.options.ShutdownFlush)
		defer cancel()
		return r.Flush(flushing)
	})
	if err := metrics.Registry.Register(pending{r}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return errors.Join(mgr.Add(r.labelled), mgr.Add(c), mgr.Add(flush))
}

// newController returns a controller that feeds r. Its name must be unique in the process, unless sameName allows
// another of the same, as when a process runs one after the other.
func (r *Reconciler) newController(logger logr.Logger, sameName bool) (controller.Controller, error) {
	c, err := controller.NewUnmanaged(controllerName, controller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: r.options.Limits.Total + writers,
		CacheSyncTimeout:        cacheSyncTimeout,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](
			firstWriteRetry, lastWriteRetry),
		SkipNameValidation: &sameName,
		Logger:             logger,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the controller: %w", err)
	}
	if err := c.Watch(source.Func(r.connect)); err != nil {
		return nil, fmt.Errorf("connecting the lanes to the queue: %w", err)
	}
	for _, view := range []cache.Cache{r.cache, r.labelled} {
		if err := c.Watch(source.TypedKind(view, &v1alpha1.WebhookDelivery{}, enqueuer{})); err != nil {
			return nil, fmt.Errorf("watching deliveries: %w", err)
		}
	}
	return c, nil
}

// connect gives the lanes the queue to wake keys in, and finds out how to ask how far the cache has come. It runs when
// the controller starts, which is after the election: an informer that was started before could be stale at the
// takeover.
func (r *Reconciler) connect(ctx context.Context, q queue) error {
	r.queue = q
	informer, err := r.cache.GetInformer(ctx, &v1alpha1.WebhookDelivery{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("getting the informer: %w", err)
	}
	r.informer.Store(&informer)
	return nil
}

// sharedStore is the informer's store; nil before there is one, and where each of the listed namespaces has its own.
func (r *Reconciler) sharedStore() toolscache.Store {
	if informer := r.informer.Load(); informer != nil {
		if shared, ok := (*informer).(toolscache.SharedIndexInformer); ok {
			return shared.GetStore()
		}
	}
	return nil
}

// version is the resource version that the cache has reached; empty if it cannot tell.
func (r *Reconciler) version() string {
	if store := r.sharedStore(); store != nil {
		return store.LastStoreSyncResourceVersion()
	}
	return ""
}

// cached are the cached objects, shared; none while there is no cache, as in a standby.
func (r *Reconciler) cached() ([]*v1alpha1.WebhookDelivery, error) {
	var all []*v1alpha1.WebhookDelivery
	if store := r.sharedStore(); store != nil {
		for _, object := range store.List() {
			if d, ok := object.(*v1alpha1.WebhookDelivery); ok {
				all = append(all, d)
			}
		}
		return all, nil
	}
	informer := r.informer.Load()
	if informer == nil || !(*informer).HasSynced() {
		return nil, nil
	}
	list := &v1alpha1.WebhookDeliveryList{}
	if err := r.cache.List(context.Background(), list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the cached deliveries: %w", err)
	}
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, nil
}

// wake enqueues a delivery for which a slot has been reserved.
func (r *Reconciler) wake(key types.NamespacedName) {
	r.queue.Add(ctrl.Request{NamespacedName: key})
}
