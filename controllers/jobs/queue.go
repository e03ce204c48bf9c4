// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

type queue = workqueue.TypedRateLimitingInterface[request]

// enqueuer puts Jobs into the queue, all with the same priority: those of the initial list, too, which would otherwise
// starve under load.
type enqueuer struct{}

func (enqueuer) Create(_ context.Context, e event.TypedCreateEvent[*batchv1.Job], q queue) {
	add(q, e.Object)
}

// Update leaves out what does not matter here: the pods of a running Job, and this operator's own explanations, so
// that an explanation that changes cannot keep a Job in motion. A different UID is a deletion that the watch has
// missed.
func (enqueuer) Update(_ context.Context, e event.TypedUpdateEvent[*batchv1.Job], q queue) {
	old, current := e.ObjectOld, e.ObjectNew
	if old.UID != current.UID {
		addDeleted(q, old)
	}
	if old.UID != current.UID || old.ResourceVersion == current.ResourceVersion ||
		(endOf(old) == nil) != (endOf(current) == nil) || !maps.Equal(wishes(old), wishes(current)) {
		add(q, current)
	}
}

// Delete also comes when a Job loses its label.
func (enqueuer) Delete(_ context.Context, e event.TypedDeleteEvent[*batchv1.Job], q queue) {
	addDeleted(q, e.Object)
}

func (enqueuer) Generic(_ context.Context, e event.TypedGenericEvent[*batchv1.Job], q queue) {
	add(q, e.Object)
}

// add leaves out Jobs that the operator is done with.
func add(q queue, job *batchv1.Job) {
	if !isNotified(job) {
		q.Add(request{NamespacedName: client.ObjectKeyFromObject(job)})
	}
}

// addDeleted hands on the last state of a Job that ended and was not announced: the cache no longer has it. Where the
// watch was interrupted, the state may be older than the deletion.
func addDeleted(q queue, job *batchv1.Job) {
	if !isNotified(job) && endOf(job) != nil {
		q.Add(request{client.ObjectKeyFromObject(job), &deletedJob{job, time.Now()}})
	}
}

// wishes are the annotations of job that are the user's.
func wishes(job *batchv1.Job) map[string]string {
	all := maps.Clone(job.Annotations)
	delete(all, AnnotationNotifyError)
	return all
}

// isNotified reports whether the operator is done with job.
func isNotified(job *batchv1.Job) bool {
	_, ok := job.Annotations[AnnotationNotified]
	return ok
}
