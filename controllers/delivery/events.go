// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const (
	// eventsPerSecond and eventBurst bound all events together: when an endpoint dies under load, the API server is
	// needed for the outcomes.
	eventsPerSecond = 5
	eventBurst      = 50

	actionDeliver = "Deliver"
)

// eventWriter emits the events of this controller: one warning for an object that will not be delivered, and none for
// one that is.
type eventWriter struct {
	recorder events.EventRecorder
	limiter  flowcontrol.RateLimiter
}

func newEventWriter(recorder events.EventRecorder) *eventWriter {
	return &eventWriter{recorder: recorder, limiter: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventBurst)}
}

// undeliverable warns that d has been given up.
func (w *eventWriter) undeliverable(d *v1alpha1.WebhookDelivery, reason v1alpha1.Reason, message string) {
	w.warn(d, reason, message+"; the payload stays in spec.payload until the object is deleted")
}

// unstored warns that the API server refuses d's status.
func (w *eventWriter) unstored(d *v1alpha1.WebhookDelivery) {
	w.warn(d, "StatusRefused", "the API server refuses to store the status of this delivery; "+
		"its attempts go on unrecorded. The operator's log has the API server's answer")
}

func (w *eventWriter) warn(regarding runtime.Object, reason v1alpha1.Reason, message string) {
	if w.limiter.TryAccept() {
		w.recorder.Eventf(regarding, nil, corev1.EventTypeWarning, string(reason), actionDeliver, "%s", message)
	}
}
