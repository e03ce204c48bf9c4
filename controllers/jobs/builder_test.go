// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// t0 is when the Jobs of table tests start. They end ten minutes later.
var (
	t0 = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	t1 = metav1.NewTime(t0.Add(10 * time.Minute))
)

const uid = "0b2d8b1f-0c5c-4a0e-9d4a-4e9d3b3e1a11"

// jobBuilder makes the Jobs of tests.
type jobBuilder struct{ job batchv1.Job }

// makeJob makes a Job that asks for a delivery and has not started.
func makeJob(name string) *jobBuilder {
	b := &jobBuilder{}
	b.job.Namespace, b.job.Name, b.job.UID = "tasks", name, uid
	b.job.Labels = map[string]string{LabelNotify: "true"}
	return b.annotated(AnnotationURL, "https://receiver.example/webhook")
}

func (b *jobBuilder) annotated(name, value string) *jobBuilder {
	if b.job.Annotations == nil {
		b.job.Annotations = map[string]string{}
	}
	b.job.Annotations[name] = value
	return b
}

func (b *jobBuilder) with(change func(*batchv1.Job)) *jobBuilder {
	change(&b.job)
	return b
}

// condition adds a True condition.
func (b *jobBuilder) condition(kind batchv1.JobConditionType, reason, message string) *jobBuilder {
	b.job.Status.Conditions = append(b.job.Status.Conditions, batchv1.JobCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: t1,
	})
	return b
}

func (b *jobBuilder) started() *jobBuilder {
	b.job.Status.StartTime = &t0
	return b
}

func (b *jobBuilder) complete() *jobBuilder {
	b.started().condition(batchv1.JobSuccessCriteriaMet, "CompletionsReached", "")
	b.job.Status.CompletionTime = &t1
	return b.condition(batchv1.JobComplete, "CompletionsReached", "Reached expected number of succeeded pods")
}

func (b *jobBuilder) failed(reason, message string) *jobBuilder {
	return b.started().condition(batchv1.JobFailureTarget, reason, message).condition(batchv1.JobFailed, reason, message)
}

func (b *jobBuilder) obj() *batchv1.Job { return b.job.DeepCopy() }
