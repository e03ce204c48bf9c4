// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const prefix = "webhookdelivery.dev/"

// LabelNotify with the value "true" on a Job asks for a delivery when the Job ends.
const LabelNotify = prefix + "notify"

// Annotations that a user sets on a Job. One that is there must not be empty: that is a template gone wrong.
const (
	// AnnotationURL is where to deliver. Required.
	AnnotationURL = prefix + "url"
	// AnnotationSecretName names the Secret whose value is sent as x-webhook-secret; without it, none is.
	AnnotationSecretName = prefix + "secret-name"
	// AnnotationSecretKey is the key in that Secret. The default is the API's.
	AnnotationSecretKey = prefix + "secret-key"
	// AnnotationTaskID is the payload's task_id; by default the Job's UID. Receivers take it for the same task each time,
	// so it does not belong into the template of a CronJob.
	AnnotationTaskID = prefix + "task-id"
	// AnnotationTaskType is the payload's task_type; by default "job".
	AnnotationTaskType = prefix + "task-type"
	// AnnotationResult is a JSON object whose members become members of the payload.
	AnnotationResult = prefix + "result"
)

// Annotations that the operator sets on a Job.
const (
	// AnnotationNotified names the delivery that was created for the Job. The Job is never acted on again.
	AnnotationNotified = prefix + "notified"
	// AnnotationNotifyError says why no delivery can be created for the Job.
	AnnotationNotifyError = prefix + "notify-error"
)

// Labels of a delivery that was created for a Job.
const (
	// LabelJobName is the Job's name, unless that is too long for a label.
	LabelJobName = prefix + "job-name"
	// LabelJobUID is the Job's UID.
	LabelJobUID = prefix + "job-uid"
)

// The members of the payload that the operator writes, in the words of the API that it serves. They mean the Job, so a
// result can set none of them, not even one that the outcome leaves out.
const (
	taskID      = "task_id"
	taskType    = "task_type"
	status      = "status"
	percentage  = "percentage" // "100", when finished
	errorText   = "error"      // the Job's reason and message, when failed
	startedAt   = "started_at" // RFC 3339
	completedAt = "completed_at"
)

const (
	defaultTaskType = "job"
	statusFinished  = "finished"
	statusFailed    = "failed"

	// maxError is how many bytes of a Job's message go into the payload.
	maxError = 4 << 10
	// maxTaskID is what the CRD allows, in characters.
	maxTaskID = 253
)

// delivery returns the WebhookDelivery that announces the end of job, always the same one for a Job; nil while it has
// not ended. It returns an error, for the user, if the annotations cannot be used, whether the Job has ended or not.
// The delivery has no owner: the garbage collector would take it away with the Job, delivered or not.
func delivery(job *batchv1.Job) (*v1alpha1.WebhookDelivery, error) {
	d := &v1alpha1.WebhookDelivery{}
	members, err := describe(job, &d.Spec)
	if err != nil {
		return nil, err
	}
	end := endOf(job)
	if end == nil {
		return nil, nil
	}
	maps.Copy(members, outcome(job, end))
	if d.Spec.Payload, err = payload.New(members); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", AnnotationResult, err)
	}
	d.Namespace, d.Name = job.Namespace, deliveryName(job)
	d.Labels = map[string]string{LabelJobUID: string(job.UID)}
	if len(validation.IsValidLabelValue(job.Name)) == 0 {
		d.Labels[LabelJobName] = job.Name
	}
	return d, nil
}

// describe reads the annotations: into spec where to deliver, and into the result what they say of the payload.
func describe(job *batchv1.Job, spec *v1alpha1.WebhookDeliverySpec) (map[string]any, error) {
	for _, name := range []string{
		AnnotationURL, AnnotationSecretName, AnnotationSecretKey, AnnotationTaskID, AnnotationTaskType, AnnotationResult,
	} {
		if value, ok := job.Annotations[name]; ok && value == "" {
			return nil, fmt.Errorf("annotation %s is empty", name)
		}
	}
	var err error
	if spec.URL, err = target(job.Annotations[AnnotationURL]); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", AnnotationURL, err)
	}
	name, key := job.Annotations[AnnotationSecretName], job.Annotations[AnnotationSecretKey]
	switch {
	case name != "":
		spec.SecretRef = &v1alpha1.SecretKeyReference{Name: name, Key: key}
	case key != "":
		return nil, fmt.Errorf("annotation %s needs %s", AnnotationSecretKey, AnnotationSecretName)
	}
	members, err := result(job.Annotations[AnnotationResult])
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", AnnotationResult, err)
	}
	members[taskID] = cmp.Or(job.Annotations[AnnotationTaskID], string(job.UID))
	members[taskType] = cmp.Or(job.Annotations[AnnotationTaskType], defaultTaskType)
	if utf8.RuneCountInString(job.Annotations[AnnotationTaskID]) > maxTaskID {
		return nil, fmt.Errorf("annotation %s is longer than %d characters", AnnotationTaskID, maxTaskID)
	}
	return members, nil
}

// target does not repeat what the API server checks when the delivery is created; it tells of a plain mistake before
// the Job has run for hours. Its errors do not hold the URL, which may hold a token.
func target(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("is missing: it says where to deliver")
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return "", errors.New("must be an absolute https URL with a host, for example https://receiver.example/webhook")
	}
	return raw, nil
}

// result reads a JSON object, without the members that are the operator's. Values stay as they are written.
func result(raw string) (map[string]any, error) {
	members := map[string]any{}
	if raw == "" {
		return members, nil
	}
	var values map[string]json.RawMessage
	err := json.Unmarshal([]byte(raw), &values)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("must be a JSON object, not %s", wrong.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("must be a JSON object: %w", err)
	}
	if values == nil {
		return nil, errors.New("must be a JSON object, not null")
	}
	for name, value := range values {
		members[name] = value
	}
	for _, name := range []string{taskID, taskType, status, percentage, errorText, startedAt, completedAt} {
		delete(members, name)
	}
	return members, nil
}

// endOf returns the condition that ended the Job; nil while there is none. SuccessCriteriaMet and FailureTarget, which
// come before, do not end a Job: its pods may still run.
func endOf(job *batchv1.Job) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return c
		}
	}
	return nil
}

// outcome is what the payload says of a Job that ended by end.
func outcome(job *batchv1.Job, end *batchv1.JobCondition) map[string]any {
	members := map[string]any{}
	if start := job.Status.StartTime; start != nil { // a suspended Job without completions ends without a start
		members[startedAt] = start.UTC().Format(time.RFC3339)
	}
	completed := end.LastTransitionTime
	if job.Status.CompletionTime != nil { // only successful Jobs have one
		completed = *job.Status.CompletionTime
	}
	if !completed.IsZero() {
		members[completedAt] = completed.UTC().Format(time.RFC3339)
	}
	if end.Type == batchv1.JobComplete {
		members[status], members[percentage] = statusFinished, "100"
	} else {
		members[status], members[errorText] = statusFailed, failure(end)
	}
	return members
}

// failure says in one line why a Job failed.
func failure(end *batchv1.JobCondition) string {
	switch {
	case end.Reason == "" && end.Message == "":
		return "the Job failed"
	case end.Reason == "":
		return truncate(end.Message, maxError)
	case end.Message == "":
		return end.Reason
	}
	return truncate(end.Reason+": "+end.Message, maxError)
}

// deliveryName is the Job's name, as far as it fits, and its UID, in 63 characters: a valid name and label value, and
// different for a Job that has the name of an earlier one.
func deliveryName(job *batchv1.Job) string {
	suffix := "-" + string(job.UID)
	room := max(0, validation.LabelValueMaxLength-len(suffix))
	name := strings.TrimRight(job.Name[:min(len(job.Name), room)], "-.")
	return strings.TrimLeft(name+suffix, "-")
}

// truncate cuts s to at most size bytes, between characters.
func truncate(s string, size int) string {
	if len(s) <= size {
		return s
	}
	const ellipsis = "…"
	return strings.ToValidUTF8(s[:size-len(ellipsis)], "") + ellipsis
}
