// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package jobs creates a WebhookDelivery when a batch/v1 Job ends that is labelled webhookdelivery.dev/notify: "true"
// and says in annotations where to deliver. The Job's own code knows nothing of it.
//
// A Job gets one delivery. The delivery's name is made of the Job's name and UID, so that it can be created once only;
// then the Job is annotated with it, and never acted on again, even when the delivery has long been deleted. Jobs have
// no finalizer, so that nothing here can keep one from being deleted. What ends and is deleted at once is announced
// from the last state that the deletion tells of. Lost is a Job that ends and is deleted while no operator runs, or
// whose deletion was seen, and not yet acted on, by an operator that then stops. A delivery may be created a second
// time only if the operator stops between creating it and annotating the Job, and the delivery is deleted before an
// operator runs again.
package jobs

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const (
	// apiTimeout is how long the requests to the API server for one Job may take. They go on during a shutdown.
	apiTimeout = 10 * time.Second
	// keepDeleted is how long the last state of a deleted Job is kept while its delivery cannot be created.
	keepDeleted = time.Hour
	// maxCreated is how many Jobs are remembered whose delivery has been created: those whose annotation may not be in the
	// cache yet.
	maxCreated = 4096
)

// Reconciler creates one delivery for each Job that ends.
type Reconciler struct {
	client  client.Client // reads Jobs from the cache
	live    client.Reader // reads deliveries from the API server
	events  *eventWriter
	created *lru.Cache // UIDs of Jobs whose delivery this process has created
}

// request is a Job to look at: by name, in the cache, or as it was when it was deleted. The pointer makes each
// deletion a request of its own, and the queue its memory, with the same retries as for any other.
type request struct {
	types.NamespacedName

	deleted *deletedJob
}

// deletedJob is the last state of a Job that was deleted after it had ended, before it was annotated.
type deletedJob struct {
	job  *batchv1.Job
	seen time.Time
}

// New returns the reconciler of Jobs. c reads Jobs from a cache as CachedObjects describes it.
func New(c client.Client, recorder events.EventRecorder) *Reconciler {
	return &Reconciler{client: c, live: c, events: newEventWriter(recorder), created: lru.New(maxCreated)}
}

// Reconcile creates the delivery of a Job that has ended and annotates the Job with it, or with why there is none.
func (r *Reconciler) Reconcile(ctx context.Context, req request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	job, err := r.read(ctx, req)
	if job == nil || isNotified(job) {
		return ctrl.Result{}, err
	}
	d, err := delivery(job)
	if err != nil {
		return ctrl.Result{}, r.refuse(ctx, job, err.Error())
	}
	if d == nil {
		return ctrl.Result{}, r.accept(ctx, job)
	}
	if err := r.create(ctx, job, d); err != nil {
		return ctrl.Result{}, r.fail(ctx, req, job, err)
	}
	return ctrl.Result{}, r.annotate(ctx, job, map[string]any{AnnotationNotified: d.Name, AnnotationNotifyError: nil})
}

// read returns the Job to look at, or nil if it is gone.
func (r *Reconciler) read(ctx context.Context, req request) (*batchv1.Job, error) {
	if req.deleted != nil {
		return req.deleted.job, nil
	}
	job := &batchv1.Job{}
	err := r.client.Get(ctx, req.NamespacedName, job, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Job from the cache: %w", err)
	}
	return job, nil
}

// create creates d unless it has been created before.
func (r *Reconciler) create(ctx context.Context, job *batchv1.Job, d *v1alpha1.WebhookDelivery) error {
	if _, ok := r.created.Get(job.UID); ok {
		return nil
	}
	err := r.client.Create(ctx, d)
	if apierrors.IsAlreadyExists(err) {
		err = r.verify(ctx, job, d)
	}
	if err == nil {
		r.created.Add(job.UID, nil)
		jobsTotal.WithLabelValues(resultCreated).Inc()
	}
	return err
}

// verify returns an error if the delivery of d's name is not the Job's.
func (r *Reconciler) verify(ctx context.Context, job *batchv1.Job, d *v1alpha1.WebhookDelivery) error {
	existing := &metav1.PartialObjectMetadata{}
	existing.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDelivery"))
	err := r.live.Get(ctx, client.ObjectKeyFromObject(d), existing)
	switch {
	case apierrors.IsNotFound(err): // it has been deleted since
		return nil
	case err != nil:
		return fmt.Errorf("reading the WebhookDelivery that exists: %w", err)
	case existing.Labels[LabelJobUID] != string(job.UID):
		return &foreignError{d.Name}
	}
	return nil
}
