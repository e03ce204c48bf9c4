// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// refusedRetry is when a status that the API server refuses is offered again, once there is nothing else to do.
const refusedRetry = 5 * time.Minute

// record writes out's status. Until the write is acknowledged out stays in the ledger, and it is the write that is
// repeated, never the request.
func (r *Reconciler) record(ctx context.Context, key types.NamespacedName, out *outcome) (ctrl.Result, error) {
	version, err := r.patch(ctx, out.delivery, out.status)
	if apierrors.IsConflict(err) {
		writeErrorsTotal.WithLabelValues(writeConflict).Inc()
		return r.rebase(ctx, key, out)
	}
	return r.settled(ctx, key, out, version, err)
}

// settled goes on from the answer to a write of out that did not conflict.
func (r *Reconciler) settled(
	ctx context.Context, key types.NamespacedName, out *outcome, version string, err error,
) (ctrl.Result, error) {
	known, err := r.written(ctx, key, out.delivery, &out.status, version, err)
	if !known {
		return lookAgain(err)
	}
	observeAttempt(out.delivery, out.attempt)
	if due := r.ledger.setDue(key, out); !due.IsZero() {
		now := time.Now()
		return ctrl.Result{RequeueAfter: untilExpiry(out.delivery, now, max(soon, due.Sub(now)))}, nil
	}
	return r.afterFinal(&out.status, key), nil
}

// rebase settles what became of an outcome whose object was changed by others in the meantime.
func (r *Reconciler) rebase(ctx context.Context, key types.NamespacedName, out *outcome) (ctrl.Result, error) {
	live, err := r.latest(ctx, key, out.delivery)
	if live == nil {
		return lookAgain(err)
	}
	found := compareAttempt(live, out)
	switch {
	case found == recorded:
		result, err := r.settled(ctx, key, out, live.ResourceVersion, nil)
		result.RequeueAfter = cmp.Or(result.RequeueAfter, staleRetry)
		return result, err
	case r.ledger.known(key, live.UID) != nil:
		// The live object lacks what the API server refused: the status that was computed stands.
		r.ledger.hold(key, &outcome{delivery: live, attempt: out.attempt, status: out.status})
		return ctrl.Result{RequeueAfter: soon}, nil
	case found == taken:
		duplicatesTotal.Inc()
		log.FromContext(ctx).Info("attempt was made by another process too", "attempt", out.attempt.Number)
		r.ledger.wrote(key, live.UID, live.ResourceVersion)
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	r.ledger.hold(key, &outcome{
		delivery: live, attempt: out.attempt, status: r.policy.afterAttempt(live, out.attempt),
	})
	return ctrl.Result{RequeueAfter: soon}, nil
}

// latest reads the object that others have changed before a write of d, without what the cache leaves out, too; nil if
// there is none any more, or another of that name. It fails if the object is as it was: the conflict has another cause,
// and a pause before the next try is all that may help.
func (r *Reconciler) latest(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
) (*v1alpha1.WebhookDelivery, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	live := &v1alpha1.WebhookDelivery{}
	err := r.live.Get(ctx, key, live)
	switch {
	case isGone(err) || (err == nil && live.UID != d.UID):
		r.ledger.vanished(key, d)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the object that changed before its status was written: %w", err)
	case live.ResourceVersion == d.ResourceVersion:
		return nil, errors.New("the API server reports a conflict, but the object has not changed")
	}
	lighten(live)
	return live, nil
}

// overtaken lets d wait until the cache shows what others have made of it: until then every write would conflict.
func (r *Reconciler) overtaken(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
) (ctrl.Result, error) {
	live, err := r.latest(ctx, key, d)
	if live == nil {
		return lookAgain(err)
	}
	r.ledger.saw(key, d.UID, live.ResourceVersion)
	return ctrl.Result{RequeueAfter: staleRetry}, nil
}

// room says whether a live object has room for an outcome.
type room int

const (
	// free: the attempt is not recorded, and no other has its number.
	free room = iota
	// recorded: the write went through, and only its answer was lost.
	recorded
	// taken: another process has recorded an attempt of that number, or ended the delivery.
	taken
)

// compareAttempt tells an attempt by its round, number and start.
func compareAttempt(live *v1alpha1.WebhookDelivery, out *outcome) room {
	if live.Status.Redeliveries != out.delivery.Status.Redeliveries {
		return taken
	}
	n := int(out.attempt.Number)
	if len(live.Status.Attempts) >= n {
		if live.Status.Attempts[n-1].StartTime.Equal(&out.attempt.StartTime) {
			return recorded
		}
		return taken
	}
	if live.IsFinished() || len(live.Status.Attempts) != n-1 {
		return taken
	}
	return free
}

// write writes a status that is not the outcome of an attempt, and can be computed again if it is not stored.
func (r *Reconciler) write(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
	status v1alpha1.WebhookDeliveryStatus, after time.Duration,
) (ctrl.Result, error) {
	version, err := r.patch(ctx, d, status)
	if apierrors.IsConflict(err) {
		writeErrorsTotal.WithLabelValues(writeConflict).Inc()
		return r.overtaken(ctx, key, d)
	}
	known, err := r.written(ctx, key, d, &status, version, err)
	if !known {
		return lookAgain(err)
	}
	if after > 0 {
		return ctrl.Result{RequeueAfter: after}, nil
	}
	return r.afterFinal(&status, key), nil
}

// written settles the answer to a write that did not conflict. It reports whether status can be taken as known: stored,
// or refused for good.
func (r *Reconciler) written(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
	status *v1alpha1.WebhookDeliveryStatus, version string, err error,
) (known bool, _ error) {
	switch {
	case err == nil:
		r.ledger.wrote(key, d.UID, version)
	case isGone(err):
		writeErrorsTotal.WithLabelValues(writeGone).Inc()
		r.ledger.vanished(key, d)
		return false, nil
	case isForbidden(err) && !r.isCached(ctx, key, d.UID):
		// Where a namespace is deleted, the rights in it may go before the last answer comes.
		writeErrorsTotal.WithLabelValues(writeGone).Inc()
		r.ledger.vanished(key, d)
		return false, nil
	case isRefusal(err):
		writeErrorsTotal.WithLabelValues(writeRefused).Inc()
		if r.ledger.known(key, d.UID) == nil {
			log.FromContext(ctx).Error(err, "the API server refuses the status, going on without recording it")
			r.events.unstored(d)
		}
		r.ledger.refused(key, d.UID, status)
	default:
		writeErrorsTotal.WithLabelValues(writeError).Inc()
		r.ledger.failed(key, isForbidden(err))
		return false, fmt.Errorf("writing the status: %w", err)
	}
	if isFinal(status.Phase) {
		r.finished(ctx, d, status)
	}
	return true, nil
}

// lookAgain tells when to look again at a delivery that is not known any more: soon, as the event of its deletion may
// have come before; or, after an error, when the queue says.
func lookAgain(err error) (ctrl.Result, error) {
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: staleRetry}, nil
}

// afterFinal tells when to look again at a delivery that has ended: never, unless the API server has refused to store
// it.
func (r *Reconciler) afterFinal(status *v1alpha1.WebhookDeliveryStatus, key types.NamespacedName) ctrl.Result {
	if isFinal(status.Phase) && r.ledger.isRefused(key) {
		return ctrl.Result{RequeueAfter: refusedRetry}
	}
	return ctrl.Result{}
}

// offerAgain writes the status of d once more, which the API server has refused before.
func (r *Reconciler) offerAgain(
	ctx context.Context, key types.NamespacedName, d *v1alpha1.WebhookDelivery,
) (ctrl.Result, error) {
	version, err := r.patch(ctx, d, d.Status)
	if err != nil {
		return ctrl.Result{RequeueAfter: refusedRetry}, nil // reported when it was refused first
	}
	r.ledger.wrote(key, d.UID, version)
	return ctrl.Result{RequeueAfter: staleRetry}, nil
}

// finished tells the world of a delivery that has ended.
func (r *Reconciler) finished(
	ctx context.Context, d *v1alpha1.WebhookDelivery, status *v1alpha1.WebhookDeliveryStatus,
) {
	observeFinish(status)
	if status.Phase == v1alpha1.PhaseUndeliverable {
		reason, message := final(status)
		log.FromContext(ctx).Info("undeliverable", "reason", reason)
		r.events.undeliverable(d, reason, message)
	}
}

// isGone reports whether the API server says that it does not have the object, and not only that it does not serve the
// resource, as while its CRD is away.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isForbidden reports whether the operator lacks the right to write status in a namespace.
func isForbidden(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot patch resource")
}

// isCached reports whether the cache has an object of that UID.
func (r *Reconciler) isCached(ctx context.Context, key types.NamespacedName, uid types.UID) bool {
	d, err := r.newest(ctx, key)
	return err != nil || d != nil && d.UID == uid
}

// isRefusal reports whether the API server will not store this status however often it is asked: a policy forbids it,
// it is invalid, or the object is too large. That the operator lacks the right to write any status is not a refusal of
// this one: it is mended for all, and until then outcomes are kept and nothing is sent in that namespace.
func isRefusal(err error) bool {
	if isForbidden(err) {
		return false
	}
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || strings.Contains(err.Error(), "etcdserver: request is too large")
}

// patch writes status onto d as it was read, in one request that is answered with metadata only, and returns the new
// resource version.
func (r *Reconciler) patch(
	ctx context.Context, d *v1alpha1.WebhookDelivery, status v1alpha1.WebhookDeliveryStatus,
) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	body, err := statusPatch(d.ResourceVersion, status)
	if err != nil {
		return "", err
	}
	answer := &metav1.PartialObjectMetadata{}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDelivery"))
	answer.Namespace, answer.Name = d.Namespace, d.Name
	if err := r.writer.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, body)); err != nil {
		return "", err
	}
	return answer.ResourceVersion, nil
}

// statusPatch is the JSON merge patch (RFC 7396) that makes status the whole status of the object, if that still has
// resourceVersion: what status leaves out is null in it.
func statusPatch(resourceVersion string, status v1alpha1.WebhookDeliveryStatus) ([]byte, error) {
	fields, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("marshalling the status: %w", err)
	}
	patch := fmt.Appendf(make([]byte, 0, len(fields)+256), `{"metadata":{"resourceVersion":%q},"status":`, resourceVersion)
	patch = append(patch, fields[:len(fields)-1]...)
	value := reflect.ValueOf(status)
	for i, name := range statusFields {
		if v := value.Field(i); v.IsZero() || (v.Kind() == reflect.Slice && v.Len() == 0) {
			if patch[len(patch)-1] != '{' {
				patch = append(patch, ',')
			}
			patch = fmt.Appendf(patch, "%q:null", name)
		}
	}
	return append(patch, "}}"...), nil
}

// statusFields are the JSON names of the fields of a status, in their order. All of them are left out when empty.
var statusFields = func() (names []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[v1alpha1.WebhookDeliveryStatus]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}()
