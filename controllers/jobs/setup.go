// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	controllerName = "jobs"

	workers          = 8
	cacheSyncTimeout = 10 * time.Minute

	// requests that fail are repeated after 100 ms at first, and at most after 30 s.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// CachedObjects tells the manager's cache to hold only Jobs that ask for a delivery, without what the controller does
// not need.
func CachedObjects() cache.ByObject {
	return cache.ByObject{
		Label:     labels.SelectorFromSet(labels.Set{LabelNotify: "true"}),
		Transform: strip,
	}
}

// strip leaves of a Job its identity, its state, and the annotations that the controller reads; of one that it is done
// with, not even those.
func strip(o any) (any, error) {
	job, ok := o.(*batchv1.Job)
	if !ok {
		return o, nil
	}
	job.ManagedFields = nil
	job.OwnerReferences = nil
	job.Labels = nil
	job.Spec = batchv1.JobSpec{}
	job.Status = batchv1.JobStatus{
		Conditions: job.Status.Conditions, StartTime: job.Status.StartTime, CompletionTime: job.Status.CompletionTime,
	}
	annotations := map[string]string{}
	if name, ok := job.Annotations[AnnotationNotified]; ok {
		annotations[AnnotationNotified] = name
		job.Status = batchv1.JobStatus{}
	} else {
		for name, value := range job.Annotations {
			if strings.HasPrefix(name, prefix) {
				annotations[name] = value
			}
		}
	}
	job.Annotations = annotations
	return job, nil
}

// SetupWithManager adds the controller to mgr, to run on the leader. The manager's cache has to hold Jobs as
// CachedObjects says.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.live = mgr.GetAPIReader()
	logger := mgr.GetLogger().WithValues("controller", controllerName)
	c, err := controller.NewTyped(controllerName, mgr, controller.TypedOptions[request]{
		Reconciler:              r,
		MaxConcurrentReconciles: workers,
		CacheSyncTimeout:        cacheSyncTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[request](firstRetry, lastRetry),
		LogConstructor: func(req *request) logr.Logger {
			if req == nil {
				return logger
			}
			return logger.WithValues("namespace", req.Namespace, "name", req.Name, "deleted", req.deleted != nil)
		},
	})
	if err != nil {
		return fmt.Errorf("creating the controller: %w", err)
	}
	if err := c.Watch(source.TypedKind(mgr.GetCache(), &batchv1.Job{}, enqueuer{})); err != nil {
		return fmt.Errorf("watching Jobs: %w", err)
	}
	return nil
}
