// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
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

	reasonStatusRefused v1alpha1.Reason = "StatusRefused"
)

// labelAgain tells how to redeliver.
const labelAgain = "label this object " + v1alpha1.LabelRedeliver + "=true to deliver it again"

// nextSteps say what its owner can do about a delivery that has ended Undeliverable. What the operator's flags decide
// is for its administrator; what the spec decides takes another object, as the spec is immutable.
var nextSteps = map[v1alpha1.Reason]string{
	v1alpha1.ReasonRetriesExhausted:  "when the receiver is well again, " + labelAgain,
	v1alpha1.ReasonSecretUnavailable: "mend the Secret, then " + labelAgain,
	v1alpha1.ReasonAddressDenied: "create another delivery to a public host, or ask the operator's administrator to " +
		"permit this one, then " + labelAgain,
	v1alpha1.ReasonInsecureURL:     "create another delivery with an https URL",
	v1alpha1.ReasonInvalidURL:      "create another delivery with a URL that can be requested",
	v1alpha1.ReasonPayloadTooLarge: "create another delivery with a smaller payload, such as a link to the result",
	v1alpha1.ReasonExpired:         "create another delivery if it is still wanted",
}

// eventWriter emits the events of this controller: one warning for an object that will not be delivered, one for each
// wait for a Secret that has become long, and none for what is delivered. Each says what happened first and then what
// to do, for kubectl describe prints it on one line.
type eventWriter struct {
	recorder events.EventRecorder
	limiter  flowcontrol.RateLimiter
}

func newEventWriter(recorder events.EventRecorder) *eventWriter {
	return &eventWriter{recorder: recorder, limiter: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventBurst)}
}

// undeliverable warns that d has been given up.
func (w *eventWriter) undeliverable(d *v1alpha1.WebhookDelivery, reason v1alpha1.Reason, message string) {
	w.warn(d, reason, "given up: "+message+". The payload stays in spec.payload until the object is deleted; "+
		nextSteps[reason])
}

// waiting warns that d has been waiting long for a Secret, and will until the given time. It reports whether there was
// room for the event.
func (w *eventWriter) waiting(d *v1alpha1.WebhookDelivery, why *unusableError, until time.Time) bool {
	return w.warn(d, why.reason, fmt.Sprintf("%s. Waiting since %s without spending an attempt: looked at again within "+
		"%s, given up at %s", why.message, d.Status.WaitingSince.UTC().Format(time.RFC3339), secretPollMax,
		until.UTC().Format(time.RFC3339)))
}

// unstored warns that the API server refuses d's status.
func (w *eventWriter) unstored(d *v1alpha1.WebhookDelivery) {
	w.warn(d, reasonStatusRefused, "the API server refuses to store the status of this delivery: its attempts go on "+
		"unrecorded. The operator's log has the API server's answer; mostly an admission policy or the object's size is "+
		"the cause")
}

func (w *eventWriter) warn(d *v1alpha1.WebhookDelivery, reason v1alpha1.Reason, message string) bool {
	if !w.limiter.TryAccept() {
		return false
	}
	w.recorder.Eventf(d, nil, corev1.EventTypeWarning, string(reason), actionDeliver, "%s", message)
	return true
}
