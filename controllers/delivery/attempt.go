// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

const (
	// heldBackRetry is when an attempt that was put off is tried again.
	heldBackRetry = time.Second
	// apiTimeout bounds every call of the API server.
	apiTimeout = 10 * time.Second
)

// classReasons gives the API's name for what the sender tells of a failed attempt.
var classReasons = map[sender.Class]v1alpha1.Reason{
	sender.UnexpectedStatus: v1alpha1.ReasonUnexpectedStatus,
	sender.RedirectRefused:  v1alpha1.ReasonRedirectRefused,
	sender.Timeout:          v1alpha1.ReasonTimeout,
	sender.DNSError:         v1alpha1.ReasonDNSError,
	sender.ConnectionFailed: v1alpha1.ReasonConnectionFailed,
	sender.TLSError:         v1alpha1.ReasonTLSError,
	sender.InvalidResponse:  v1alpha1.ReasonInvalidResponse,
	sender.ProxyError:       v1alpha1.ReasonProxyError,
	sender.AddressDenied:    v1alpha1.ReasonAddressDenied,
	sender.InsecureURL:      v1alpha1.ReasonInsecureURL,
	sender.InvalidURL:       v1alpha1.ReasonInvalidURL,
	sender.InvalidSecret:    v1alpha1.ReasonSecretInvalid,
	sender.InvalidTLS:       v1alpha1.ReasonSecretInvalid,
}

// attempt makes d's next attempt if a slot is free, and records it. The request and its record outlive ctx, so that a
// shutdown does not cut them off; no new one begins after it.
func (r *Reconciler) attempt(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
) (ctrl.Result, error) {
	if !r.mayBegin(ctx, d) {
		r.lanes.Forget(key)
		return ctrl.Result{RequeueAfter: heldBackRetry}, nil
	}
	place := placeOf(d)
	release, ok := r.lanes.Acquire(key, place)
	if !ok { // parked: a slot that falls free enqueues the key, if its time is not over before
		return ctrl.Result{RequeueAfter: untilExpiry(d, time.Now(), 0)}, nil
	}
	defer release()
	lasting := context.WithoutCancel(ctx)
	req, err := r.prepare(lasting, d)
	if unusable, ok := asUnusable(err); ok {
		return r.waitForSecret(lasting, key, d, unusable)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(req.Body) > r.policy.MaxPayload {
		return r.giveUp(lasting, key, d, v1alpha1.ReasonPayloadTooLarge, fmt.Sprintf(
			"the payload has %d bytes, but at most %d are sent", len(req.Body), r.policy.MaxPayload))
	}
	result, sent := r.send(ctx, key, d, req)
	if !sent {
		return ctrl.Result{RequeueAfter: heldBackRetry}, nil
	}
	defer r.ledger.end(key)
	if result.Class.IsAttempt() {
		r.lanes.Learn(place.Endpoint, result.Class == sender.Timeout)
	}
	release()
	return r.conclude(lasting, key, d, result)
}

// prepare assembles the request of d's next attempt.
func (r *Reconciler) prepare(ctx context.Context, d *v1alpha1.WebhookDelivery) (sender.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var notBefore time.Time
	if n := len(d.Status.Attempts); n > 0 {
		notBefore = attempt{Attempt: d.Status.Attempts[n-1]}.end()
	}
	if isSecretReason(waitReason(d)) {
		// The Secret may have been mended since it was read. Within missingSecretTTL all who wait for it share a read.
		notBefore = latest(notBefore, time.Now().Add(-missingSecretTTL))
	}
	req, err := r.secrets.credentials(ctx, d, notBefore)
	if err != nil {
		return req, err
	}
	req.ID, req.URL, req.Body = string(d.UID), d.Spec.URL, d.Spec.Payload.Raw
	if req.Body == nil {
		req.Body, err = r.livePayload(ctx, d)
	}
	return req, err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// livePayload reads the payload that the cache left out because of its size. It is immutable.
func (r *Reconciler) livePayload(ctx context.Context, d *v1alpha1.WebhookDelivery) ([]byte, error) {
	var live v1alpha1.WebhookDelivery
	err := r.live.Get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: d.Name}, &live)
	if err != nil {
		return nil, fmt.Errorf("reading the payload: %w", err)
	}
	if live.UID != d.UID {
		return nil, apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("webhookdeliveries").GroupResource(), d.Name)
	}
	return live.Spec.Payload.Raw, nil
}

// send makes d's request unless it must not begin now: what was true before it was prepared, which takes reads, may not
// be any more. The caller ends the request in the ledger once its outcome is there.
func (r *Reconciler) send(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery, req sender.Request,
) (sender.Result, bool) {
	r.ledger.begin(key, d.UID)
	if !r.mayBegin(ctx, d) {
		r.ledger.end(key)
		return sender.Result{}, false
	}
	return r.sender.Send(context.WithoutCancel(ctx), req), true
}

// mayBegin reports whether a request of d, which is due, may begin at this moment: not after a shutdown has begun or
// d's time is over, while too many outcomes are unwritten or those of d's namespace may not be written, or on a lease
// that would not outlast it.
func (r *Reconciler) mayBegin(ctx context.Context, d *v1alpha1.WebhookDelivery) bool {
	unwritten, _ := r.ledger.load()
	switch {
	case ctx.Err() != nil || isExpired(d, time.Now()):
		return false
	case unwritten >= r.options.MaxUnwritten:
		heldBackTotal.WithLabelValues(heldBackUnwritten).Inc()
		return false
	case r.ledger.isForbidden(d.Namespace):
		heldBackTotal.WithLabelValues(heldBackForbidden).Inc()
		return false
	case !r.maySend():
		heldBackTotal.WithLabelValues(heldBackLease).Inc()
		return false
	}
	return true
}

// conclude turns what the sender tells into an outcome and records it.
func (r *Reconciler) conclude(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery, result sender.Result,
) (ctrl.Result, error) {
	reason := classReasons[result.Class]
	switch {
	case result.Class == sender.InvalidSecret || result.Class == sender.InvalidTLS:
		return r.waitForSecret(ctx, key, d, &unusableError{reason, result.Message})
	case !result.Class.IsAttempt():
		return r.giveUp(ctx, key, d, reason, result.Message)
	case result.StatusCode == 401 || result.StatusCode == 403:
		r.secrets.drop(d)
	}
	a := newAttempt(len(d.Status.Attempts)+1, result.Start, result.End)
	a.StatusCode, a.Message = int32(result.StatusCode), result.Message
	a.delivered, a.retryAfter, a.jitter = result.Class == sender.Delivered, result.RetryAfter, r.jitter()
	if !a.delivered {
		a.Reason = reason
		log.FromContext(ctx).Info("attempt failed", "attempt", a.Number, "reason", a.Reason, "statusCode", a.StatusCode)
	}
	out := &outcome{delivery: d, attempt: a, status: r.policy.afterAttempt(d, a)}
	r.ledger.hold(key, out)
	return r.record(ctx, key, out)
}

// waitForSecret records why d waits, or that it has waited too long.
func (r *Reconciler) waitForSecret(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery, why *unusableError,
) (ctrl.Result, error) {
	now := time.Now()
	waited, warned := r.ledger.waited(key, d, now)
	step := r.policy.planWithoutSecret(d, why.reason, why.message, waited, now)
	switch step.action {
	case finish:
		return r.write(ctx, key, d, afterFinish(d, step, now), 0)
	case note:
		return r.write(ctx, key, d, afterNote(d, step, now), step.after)
	}
	// It is warned once in this process of each wait that has become long; for want of room among the events, at a later
	// poll. Nothing of that is written to the object, so that another process may warn of the same wait.
	left := untilExpiry(d, now, r.policy.SecretWaitTimeout-waited)
	if waited >= longWait && !warned && r.events.waiting(d, why, now.Add(left)) {
		r.ledger.setWarned(key, d)
	}
	return ctrl.Result{RequeueAfter: step.after}, nil
}

// giveUp records that d ends without another attempt.
func (r *Reconciler) giveUp(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery, reason v1alpha1.Reason, message string,
) (ctrl.Result, error) {
	return r.write(ctx, key, d, afterFinish(d, step{reason: reason, message: message}, time.Now()), 0)
}

// defaultPorts are what a URL without a port means (RFC 9110 section 4.2).
var defaultPorts = map[string]string{"https": "443", "http": "80"}

// placeOf is where d queues: deliveries to one scheme, host and port share a lane, however their URLs spell them.
func placeOf(d *v1alpha1.WebhookDelivery) lanes.Place {
	place := lanes.Place{Namespace: d.Namespace}
	if u, err := url.Parse(d.Spec.URL); err == nil {
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		place.Endpoint = u.Scheme + "://" + net.JoinHostPort(host, cmp.Or(u.Port(), defaultPorts[u.Scheme]))
	}
	return place
}
