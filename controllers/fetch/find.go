// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// A task has one delivery, or a few. These bound what a namespace that has made more can cost: objects come one at a
// time, as 20 of them may have 30 MiB.
const (
	taskField = "spec.payload.task_id"

	pageSize = 20
	maxPages = 5
	maxTried = 20
)

// credential is what a request shows of itself.
type credential struct {
	secret string    // "": none
	user   user.Info // nil: none
}

// finder reads deliveries and Secrets, one by one and always from the API server.
type finder struct {
	live   client.Reader
	access access
	logger logr.Logger
}

// newest returns the newest delivery of the task that the credential lets read, or errNotFound. Of a task with more
// than pageSize*maxPages deliveries it sees the first by name, and of those it tries the newest maxTried.
func (f finder) newest(ctx context.Context, q query, c credential) (*v1alpha1.WebhookDelivery, error) {
	if c.secret == "" && c.user == nil {
		return nil, errNotFound
	}
	names, err := f.names(ctx, q)
	if err != nil {
		return nil, err
	}
	refused := map[v1alpha1.SecretKeyReference]bool{}
	for _, name := range names {
		d := &v1alpha1.WebhookDelivery{}
		if found, err := f.get(ctx, types.NamespacedName{Namespace: q.Namespace, Name: name}, d); err != nil {
			return nil, err
		} else if !found || d.Spec.Payload.TaskID != q.TaskID {
			continue
		}
		readable, err := f.readable(ctx, d, c, refused)
		if err != nil {
			return nil, err
		}
		if readable {
			return d, nil
		}
	}
	return nil, errNotFound
}

// names returns the names of the task's deliveries, the newest first; of those made in the same second, the last by
// name. It reads metadata only.
func (f finder) names(ctx context.Context, q query) ([]string, error) {
	var all []metav1.ObjectMeta
	page := &metav1.PartialObjectMetadataList{}
	for range maxPages {
		token := page.Continue
		page = &metav1.PartialObjectMetadataList{}
		page.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDeliveryList"))
		err := f.live.List(ctx, page, client.InNamespace(q.Namespace), client.Limit(pageSize), client.Continue(token),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector(taskField, q.TaskID)})
		if apierrors.IsForbidden(err) {
			f.logger.V(1).Info("the operator may not list deliveries", "namespace", q.Namespace)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing deliveries: %w", err)
		}
		for i := range page.Items {
			all = append(all, metav1.ObjectMeta{
				Name: page.Items[i].Name, CreationTimestamp: page.Items[i].CreationTimestamp})
		}
		if page.Continue == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b metav1.ObjectMeta) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	})
	names := make([]string, 0, maxTried)
	for _, o := range all[:min(len(all), maxTried)] {
		names = append(names, o.Name)
	}
	return names, nil
}

// readable reports whether c lets its bearer read d. refused holds the secrets that c was found not to match, as
// deliveries of one task mostly share one.
func (f finder) readable(
	ctx context.Context, d *v1alpha1.WebhookDelivery, c credential, refused map[v1alpha1.SecretKeyReference]bool,
) (bool, error) {
	if ref := d.Spec.SecretRef; ref != nil && c.secret != "" && !refused[*ref] {
		var secret corev1.Secret
		found, err := f.get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: ref.Name}, &secret)
		if err != nil {
			return false, err
		}
		if found && matches(c.secret, secret.Data[ref.Key]) {
			return true, nil
		}
		refused[*ref] = true
	}
	if c.user == nil {
		return false, nil
	}
	return f.access.mayGet(ctx, c.user, d)
}

// get reads an object and reports whether there is one that the operator may read.
func (f finder) get(ctx context.Context, key types.NamespacedName, o client.Object) (bool, error) {
	err := f.live.Get(ctx, key, o)
	switch {
	case apierrors.IsForbidden(err):
		f.logger.V(1).Info("the operator may not read an object", "type", fmt.Sprintf("%T", o), "namespace", key.Namespace)
		return false, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading a %T: %w", o, err)
	}
	return true, nil
}

// matches compares what a client gave with a Secret's value, less one newline at its end, in a time that depends on
// neither. An empty value matches nothing.
func matches(given string, value []byte) bool {
	value = trimNewline(value)
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256(value)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && len(value) > 0
}

// trimNewline cuts off the one newline, "\n" or "\r\n", that is not sent as part of the secret either.
func trimNewline(value []byte) []byte {
	if line, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		return bytes.TrimSuffix(line, []byte("\r"))
	}
	return value
}
