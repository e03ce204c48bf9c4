// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxNotifyError is how many bytes an explanation may have.
const maxNotifyError = 1024

// foreignError says that the name of a Job's delivery is taken.
type foreignError struct{ name string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("the WebhookDelivery %s exists and is not labelled as this Job's", e.name)
}

// fail handles an error in creating the delivery of job. What only a change of the Job can cure is told to the user
// and not tried again; what the cluster may come to allow is told and tried again; the rest is tried again.
func (r *Reconciler) fail(ctx context.Context, req request, job *batchv1.Job, err error) error {
	message := explain(job, err)
	again := errors.New("creating the WebhookDelivery: " + message)
	var foreign *foreignError
	switch {
	case isNamespaceGone(err):
		return nil
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err),
		errors.As(err, &foreign):
		return r.refuse(ctx, job, message)
	case req.deleted != nil && time.Since(req.deleted.seen) > keepDeleted:
		return r.refuse(ctx, job, message)
	case apierrors.IsForbidden(err) && req.deleted == nil:
		return errors.Join(again, r.refuse(ctx, job, message))
	}
	return again
}

// isNamespaceGone reports whether nothing can be created any more where err comes from.
func isNamespaceGone(err error) bool {
	var status apierrors.APIStatus
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil &&
			status.Status().Details.Kind == "namespaces"
}

// explain returns what the API server says against the delivery of job, in an order that is always the same, as each
// change is written to the Job, and without the URL, which may hold a token: events are read by many.
func explain(job *batchv1.Job, err error) string {
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0 {
		var causes []string
		for _, c := range status.Status().Details.Causes {
			causes = append(causes, strings.TrimPrefix(c.Field+": "+c.Message, ": "))
		}
		slices.Sort(causes)
		message = strings.Join(slices.Compact(causes), "; ")
	}
	if raw := job.Annotations[AnnotationURL]; raw != "" {
		const hidden = "(the URL)"
		message = strings.NewReplacer(strconv.Quote(raw), hidden, raw, hidden).Replace(message)
	}
	return message
}

// refuse tells the user once, by annotation and event, why no delivery can be created for job.
func (r *Reconciler) refuse(ctx context.Context, job *batchv1.Job, message string) error {
	message = truncate(message, maxNotifyError)
	if job.Annotations[AnnotationNotifyError] == message {
		return nil
	}
	if err := r.annotate(ctx, job, map[string]any{AnnotationNotifyError: message}); err != nil {
		return err
	}
	jobsTotal.WithLabelValues(resultRefused).Inc()
	r.events.refused(job, message)
	return nil
}

// accept takes back an explanation that no longer holds.
func (r *Reconciler) accept(ctx context.Context, job *batchv1.Job) error {
	if _, ok := job.Annotations[AnnotationNotifyError]; !ok {
		return nil
	}
	return r.annotate(ctx, job, map[string]any{AnnotationNotifyError: nil})
}

// annotate sets annotations of job; nil removes one. It is no error if the Job is gone.
func (r *Reconciler) annotate(ctx context.Context, job *batchv1.Job, annotations map[string]any) error {
	// The UID keeps the patch off another Job that has the name by now.
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": job.UID, "annotations": annotations}})
	if err != nil {
		return fmt.Errorf("encoding annotations: %w", err)
	}
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name}}
	target.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	err = r.client.Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if apierrors.IsNotFound(err) || isOther(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("annotating the Job: %w", err)
	}
	return nil
}

// isOther reports whether err says that the Job of that name has another UID.
func isOther(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
		return c.Field == "metadata.uid"
	})
}
