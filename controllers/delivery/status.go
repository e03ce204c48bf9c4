// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// attempt is what one request came to.
type attempt struct {
	v1alpha1.Attempt
	// delivered is whether the receiver answered 2xx.
	delivered bool
	// retryAfter is what the receiver asked for; zero if nothing.
	retryAfter time.Duration
	// finished is when it was over, with this process's monotonic time.
	finished time.Time
	// jitter is a random number in [0, 1) that this attempt's gap is lengthened by. It is drawn once, so that a status
	// that has to be computed again is the same.
	jitter float64
}

// attemptRounding is how much later than it was an attempt may have ended as status tells it.
const attemptRounding = time.Millisecond

// newAttempt is the n-th attempt of a round, made from start to finished. What status can hold is coarser than the
// clock: the start is rounded down and the duration up, so that no gap that is counted from its end is too short.
func newAttempt(n int, start, finished time.Time) attempt {
	recorded := start.Truncate(time.Microsecond)
	milliseconds := (finished.Sub(start) + start.Sub(recorded) + attemptRounding - 1) / attemptRounding
	return attempt{
		Attempt: v1alpha1.Attempt{
			Number: int32(n), StartTime: metav1.NewMicroTime(recorded), DurationMilliseconds: int64(milliseconds),
		},
		finished: finished,
	}
}

// end is when the attempt was over, as status tells it.
func (a attempt) end() time.Time {
	return a.StartTime.Add(time.Duration(a.DurationMilliseconds) * time.Millisecond)
}

// afterAttempt is d's status once a has been made.
func (p Policy) afterAttempt(d *v1alpha1.WebhookDelivery, a attempt) v1alpha1.WebhookDeliveryStatus {
	s := *d.Status.DeepCopy()
	s.Attempts = append(s.Attempts, a.Attempt)
	s.WaitingSince = nil
	s.RedeliverAccepted = false
	n := len(s.Attempts)
	switch {
	case a.delivered:
		settle(&s, d, v1alpha1.PhaseDelivered, v1alpha1.ReasonSucceeded,
			fmt.Sprintf("%s on attempt %d of %d", a.Message, n, max(n, p.attempts())), a.end())
	case n >= p.attempts():
		settle(&s, d, v1alpha1.PhaseUndeliverable, v1alpha1.ReasonRetriesExhausted, exhausted(s.Attempts), a.end())
	default:
		next := metav1.NewMicroTime(p.nextAttempt(n, a.end(), a.retryAfter, a.jitter))
		s.NextAttemptTime = &next
		settle(&s, d, v1alpha1.PhaseRetrying, v1alpha1.ReasonRetrying,
			fmt.Sprintf("attempt %d of %d failed: %s", n, p.attempts(), a.Message), a.end())
	}
	return s
}

// afterNote is d's status once the reason why it waits has changed.
func afterNote(d *v1alpha1.WebhookDelivery, st step, now time.Time) v1alpha1.WebhookDeliveryStatus {
	s := *d.Status.DeepCopy()
	if isSecretReason(st.reason) {
		if s.WaitingSince == nil {
			s.WaitingSince = &metav1.Time{Time: now}
		}
	} else {
		s.WaitingSince = nil
	}
	phase := v1alpha1.PhasePending
	if len(s.Attempts) > 0 {
		phase = v1alpha1.PhaseRetrying
	}
	settle(&s, d, phase, st.reason, st.message, now)
	return s
}

// afterFinish is d's status once it has been given up.
func afterFinish(d *v1alpha1.WebhookDelivery, st step, now time.Time) v1alpha1.WebhookDeliveryStatus {
	s := *d.Status.DeepCopy()
	settle(&s, d, v1alpha1.PhaseUndeliverable, st.reason, st.message, now)
	return s
}

// afterAccept is d's status once a request to deliver it again is accepted: a new round for one that has ended, and a
// wait cut short for one that has not.
func afterAccept(d *v1alpha1.WebhookDelivery, now time.Time) v1alpha1.WebhookDeliveryStatus {
	s := *d.Status.DeepCopy()
	phase, message := v1alpha1.PhasePending, "attempts start again"
	if d.IsFinished() {
		s.Redeliveries++
		s.Attempts, s.CompletionTime, s.NextAttemptTime = nil, nil, nil
	} else if s.NextAttemptTime != nil {
		phase, message = v1alpha1.PhaseRetrying, "the next attempt is made now"
		s.NextAttemptTime = &metav1.MicroTime{Time: now}
	}
	settle(&s, d, phase, v1alpha1.ReasonRedelivering, message, now)
	s.RedeliverAccepted = true
	return s
}

// settle is the only writer of phase, conditions and completionTime.
func settle(
	s *v1alpha1.WebhookDeliveryStatus, d *v1alpha1.WebhookDelivery,
	phase v1alpha1.Phase, reason v1alpha1.Reason, message string, now time.Time,
) {
	s.Phase = phase
	s.ObservedGeneration = d.Generation
	if isFinal(phase) {
		s.CompletionTime = &metav1.Time{Time: now}
		s.NextAttemptTime = nil
		s.WaitingSince = nil
		s.RedeliverAccepted = false
	}
	delivered, undeliverable := metav1.ConditionFalse, metav1.ConditionFalse
	switch phase {
	case v1alpha1.PhaseDelivered:
		delivered = metav1.ConditionTrue
	case v1alpha1.PhaseUndeliverable:
		undeliverable = metav1.ConditionTrue
	}
	for _, c := range []metav1.Condition{
		{Type: v1alpha1.ConditionDelivered, Status: delivered},
		{Type: v1alpha1.ConditionUndeliverable, Status: undeliverable},
	} {
		c.Reason = string(reason)
		c.ObservedGeneration = d.Generation
		c.LastTransitionTime = metav1.NewTime(now)
		// The message stands once: where the answer is, or in Delivered while there is none.
		if c.Status == metav1.ConditionTrue || (!isFinal(phase) && c.Type == v1alpha1.ConditionDelivered) {
			c.Message = message
		}
		meta.SetStatusCondition(&s.Conditions, c)
	}
}

// waitReason is the recorded reason why d is not finished; empty before there is one.
func waitReason(d *v1alpha1.WebhookDelivery) v1alpha1.Reason {
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDelivered)
	if c == nil {
		return ""
	}
	return v1alpha1.Reason(c.Reason)
}

// final is the reason and message of the condition that is True.
func final(s *v1alpha1.WebhookDeliveryStatus) (v1alpha1.Reason, string) {
	for _, c := range s.Conditions {
		if c.Status == metav1.ConditionTrue {
			return v1alpha1.Reason(c.Reason), c.Message
		}
	}
	return "", ""
}

func isFinal(phase v1alpha1.Phase) bool {
	return phase == v1alpha1.PhaseDelivered || phase == v1alpha1.PhaseUndeliverable
}

func isSecretReason(r v1alpha1.Reason) bool {
	switch r {
	case v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyNotFound, v1alpha1.ReasonSecretInvalid:
		return true
	}
	return false
}

func exhausted(attempts []v1alpha1.Attempt) string {
	last := attempts[len(attempts)-1]
	return fmt.Sprintf("all %d attempts failed, the last with: %s", len(attempts), last.Message)
}
