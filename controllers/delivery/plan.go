// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// Policy is what the administrator decides about every delivery.
type Policy struct {
	// Schedule holds the gaps between attempts, each counted from the end of the failed attempt. There is one attempt
	// more than there are gaps.
	Schedule []time.Duration
	// RetryAfterMax bounds how far a receiver's Retry-After may lengthen a gap.
	RetryAfterMax time.Duration
	// SecretWaitTimeout is how long a delivery waits for its Secret before it is undeliverable.
	SecretWaitTimeout time.Duration
	// MaxPayload is the largest payload that is sent, in bytes of JSON.
	MaxPayload int
}

// DefaultPolicy is the published promise: at most three retries, after about 10, 30 and 90 seconds.
func DefaultPolicy() Policy {
	return Policy{
		Schedule:          []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second},
		RetryAfterMax:     5 * time.Minute,
		SecretWaitTimeout: time.Hour,
		MaxPayload:        256 << 10,
	}
}

const (
	// maxJitter is added to a gap as a random part of it, so that deliveries that failed together do not return
	// together. It is only ever added: no attempt is early.
	maxJitter = 0.10

	// maxAttempts is status.attempts' maxItems in the CRD.
	maxAttempts = 16

	// soon is the shortest wait: one of no time at all would be taken for one without an end.
	soon = time.Millisecond

	secretPollMin = time.Second
	secretPollMax = 30 * time.Second

	// longWait is how long a delivery waits for its Secret before its owner is warned.
	longWait = time.Minute
)

// Validate returns an error that says what to change when the policy cannot be kept.
func (p Policy) Validate() error {
	if len(p.Schedule) >= maxAttempts {
		return fmt.Errorf("the retry schedule has %d gaps, but status can record %d attempts: shorten it to at most %d",
			len(p.Schedule), maxAttempts, maxAttempts-1)
	}
	for i, gap := range p.Schedule {
		if gap <= 0 {
			return fmt.Errorf("gap %d of the retry schedule is %s: every gap must be longer than zero", i+1, gap)
		}
	}
	if p.RetryAfterMax < 0 || p.SecretWaitTimeout < 0 {
		return errors.New("the longest Retry-After and the time to wait for a Secret must not be negative")
	}
	if p.MaxPayload < 1 {
		return errors.New("the largest payload must be at least 1 byte")
	}
	return nil
}

// attempts is how often a delivery is tried.
func (p Policy) attempts() int { return len(p.Schedule) + 1 }

// action is what to do about a delivery now.
type action int

const (
	// idle: nothing, until the object changes.
	idle action = iota
	// wait: nothing, until step.after has passed.
	wait
	// send: make an attempt.
	send
	// note: write step.reason as the reason why it waits, then wait for step.after, or idle where that is zero.
	note
	// finish: give up, with step.reason.
	finish
	// accept: start a new round, or try now, because the object is labelled for it.
	accept
	// unlabel: take the label away of a request that has been accepted.
	unlabel
)

// step is one action with what belongs to it.
type step struct {
	action  action
	after   time.Duration
	reason  v1alpha1.Reason
	message string
}

// plan decides what to do about d at the time now. due is when its next attempt may be made, as dueTime told when this
// process first saw the wait. A delivery's Secret and receiver are not plan's business: see planWithoutSecret.
func (p Policy) plan(d *v1alpha1.WebhookDelivery, due, now time.Time) step {
	switch {
	case !d.DeletionTimestamp.IsZero():
		return step{action: idle}
	case isLabelled(d) && d.Status.RedeliverAccepted:
		return step{action: unlabel}
	case isLabelled(d):
		return step{action: accept}
	case d.IsFinished():
		return step{action: idle}
	case isExpired(d, now):
		return step{action: finish, reason: v1alpha1.ReasonExpired, message: "spec.deliverBefore has passed"}
	case d.Spec.Suspend:
		return p.planSuspended(d, now)
	case len(d.Status.Attempts) >= p.attempts():
		return step{action: finish, reason: v1alpha1.ReasonRetriesExhausted, message: exhausted(d.Status.Attempts)}
	case due.After(now):
		after := untilExpiry(d, now, due.Sub(now))
		if waitReason(d) == v1alpha1.ReasonSuspended {
			return step{action: note, after: after, reason: v1alpha1.ReasonResumed, message: "no longer suspended"}
		}
		return step{action: wait, after: after}
	}
	return step{action: send}
}

func (p Policy) planSuspended(d *v1alpha1.WebhookDelivery, now time.Time) step {
	s := step{action: idle, after: untilExpiry(d, now, 0)}
	if s.after > 0 {
		s.action = wait
	}
	if waitReason(d) != v1alpha1.ReasonSuspended {
		s.action, s.reason = note, v1alpha1.ReasonSuspended
		s.message = "spec.suspend is true: no attempt is made until it is false"
	}
	return s
}

// planWithoutSecret decides what to do about d, whose next attempt is due and which has waited, while its Secret cannot
// be used for the given reason. The polls thin out as the wait goes on.
func (p Policy) planWithoutSecret(
	d *v1alpha1.WebhookDelivery, reason v1alpha1.Reason, message string, waited time.Duration, now time.Time,
) step {
	left := p.SecretWaitTimeout - waited
	if left <= 0 {
		return step{action: finish, reason: v1alpha1.ReasonSecretUnavailable, message: message}
	}
	s := step{action: wait, after: untilExpiry(d, now, min(left, max(secretPollMin, min(secretPollMax, waited))))}
	if d.Status.WaitingSince == nil || waitReason(d) != reason {
		s.action, s.reason, s.message = note, reason, message
	}
	return s
}

// dueTime is when the next attempt of d may be made: the zero time if there is nothing to wait for. The recorded time
// is wall clock of perhaps another process, so the wait that is left is bounded by the longest that can have been
// meant: after a leap of the clock nothing waits longer than its schedule. What dueTime returns carries now's monotonic
// time.
func (p Policy) dueTime(d *v1alpha1.WebhookDelivery, now time.Time) time.Time {
	if d.Status.NextAttemptTime == nil {
		return time.Time{}
	}
	left := d.Status.NextAttemptTime.Round(0).Sub(now.Round(0))
	return now.Add(max(0, min(left, p.longestWait(d.Status.Attempts))))
}

// longestWait is the longest gap that can follow the given attempts.
func (p Policy) longestWait(attempts []v1alpha1.Attempt) time.Duration {
	n := len(attempts)
	if n == 0 || n > len(p.Schedule) {
		return 0
	}
	longest := withJitter(p.Schedule[n-1], 1)
	if mayRetryAfter(attempts[n-1].StatusCode) {
		longest = max(longest, p.RetryAfterMax)
	}
	return longest
}

// nextAttempt is when to try again after the n-th attempt failed at end, rounded up to what status can hold. jitter is
// a random number in [0, 1).
func (p Policy) nextAttempt(n int, end time.Time, retryAfter time.Duration, jitter float64) time.Time {
	gap := max(withJitter(p.Schedule[n-1], jitter), min(retryAfter, p.RetryAfterMax))
	return end.Add(gap + time.Microsecond - 1).Truncate(time.Microsecond)
}

func withJitter(gap time.Duration, jitter float64) time.Duration {
	return gap + time.Duration(float64(gap)*maxJitter*jitter)
}

// mayRetryAfter reports whether Retry-After is heeded with this status code (RFC 9110 section 10.2.3, RFC 6585).
func mayRetryAfter(statusCode int32) bool {
	return statusCode == 429 || statusCode == 503
}

// isLabelled reports whether someone asks for d to be delivered again, or now.
func isLabelled(d *v1alpha1.WebhookDelivery) bool {
	return d.Labels[v1alpha1.LabelRedeliver] == "true"
}

func isExpired(d *v1alpha1.WebhookDelivery, now time.Time) bool {
	return d.Spec.DeliverBefore != nil && !now.Before(d.Spec.DeliverBefore.Time)
}

// untilExpiry shortens a wait so that it does not outlast spec.deliverBefore, which may have passed since it was looked
// at; zero stands for a wait without an end.
func untilExpiry(d *v1alpha1.WebhookDelivery, now time.Time, after time.Duration) time.Duration {
	if d.Spec.DeliverBefore == nil {
		return after
	}
	left := max(soon, d.Spec.DeliverBefore.Sub(now))
	if after == 0 {
		return left
	}
	return min(after, left)
}
