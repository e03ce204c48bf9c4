// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// eventsPerSecond and eventBurst bound all events together. The annotation is on every Job anyway.
	eventsPerSecond = 5
	eventBurst      = 50

	reasonRefused = "NotificationRefused"
	actionNotify  = "Notify"
)

// eventWriter emits the events of this controller: a warning for a Job that no delivery can be created for, and none
// for one that got it.
type eventWriter struct {
	recorder events.EventRecorder
	limiter  flowcontrol.RateLimiter
}

func newEventWriter(recorder events.EventRecorder) *eventWriter {
	return &eventWriter{recorder: recorder, limiter: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventBurst)}
}

// refused warns that no WebhookDelivery can be created for job.
func (w *eventWriter) refused(job *batchv1.Job, message string) {
	if w.limiter.TryAccept() {
		w.recorder.Eventf(job, nil, corev1.EventTypeWarning, reasonRefused, actionNotify,
			"no WebhookDelivery can be created: %s", truncate(message, maxNotifyError-64))
	}
}
