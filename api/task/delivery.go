// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package task is for controllers of tasks: it makes the WebhookDelivery that tells a task's caller how the task ended.
// It depends on apimachinery and this project's API alone.
//
// The object is the same whenever it is made from the same task and result, so a controller that is not sure whether it
// has created it creates it again: AlreadyExists, or a server-side apply that changes nothing, means it had.
//
// That holds while the delivery exists. The operator deletes finished deliveries after a time, so a task that stays
// longer must remember that its delivery was created, for example in an annotation: otherwise the next reconciliation
// creates it once more, and the receiver gets the result again.
package task

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// Target is where a result goes.
type Target struct {
	// URL receives the POST: webhook_url, in most task APIs.
	URL string
	// SecretName names the Secret, in the task's namespace, with the value that the receiver knows the sender by. Empty:
	// there is none, and the receiver cannot tell who sends.
	SecretName string
	// SecretKey is the key of the value in the Secret. Empty: webhook-secret.
	SecretKey string
}

// Delivery returns the object that delivers the result of owner, a task that is stored, to target. kind is the task's,
// which a typed client leaves out of the objects that it returns. Every other field may be changed before the object is
// created.
//
// The delivery lies in the task's namespace under the name that Name returns, and the task is its controller: to delete
// the task is to delete the delivery, and so to cancel it if it has not been made. The owner reference does not hold
// the task's deletion up. A controller of tasks that Owns(&v1alpha1.WebhookDelivery{}) is told of the outcome.
//
// The error lists everything that the API server or the operator would refuse.
func Delivery(
	owner metav1.Object, kind schema.GroupVersionKind, result Result, target Target,
) (*v1alpha1.WebhookDelivery, error) {
	body, err := result.payload(owner, kind)
	if err := errors.Join(checkOwner(owner, kind), err, target.check()); err != nil {
		return nil, fmt.Errorf("no delivery can be made: %w", err)
	}
	apiVersion, kindName := kind.ToAPIVersionAndKind()
	d := &v1alpha1.WebhookDelivery{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "WebhookDelivery"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      Name(owner),
			Namespace: owner.GetNamespace(),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: apiVersion, Kind: kindName, Name: owner.GetName(), UID: owner.GetUID(), Controller: new(true),
			}},
		},
		Spec: v1alpha1.WebhookDeliverySpec{URL: target.URL, Payload: body},
	}
	if target.SecretName != "" {
		d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: target.SecretName, Key: target.SecretKey}
	}
	return d, nil
}

func checkOwner(owner metav1.Object, kind schema.GroupVersionKind) error {
	var errs []error
	if kind.Version == "" || kind.Kind == "" {
		errs = append(errs, fmt.Errorf("the task's kind is %q: it needs a version and a kind", kind))
	}
	if owner.GetName() == "" || owner.GetUID() == "" {
		errs = append(errs, errors.New("the task has no name or no UID: it must be stored first"))
	}
	if owner.GetNamespace() == "" {
		errs = append(errs, errors.New("the task has no namespace to put the delivery in"))
	}
	return errors.Join(errs...)
}

const (
	// uidDigits of the owner's hashed UID tell two tasks of one name, one after the other, apart.
	uidDigits     = 10
	maxNamePrefix = validation.DNS1123LabelMaxLength - 1 - uidDigits
)

// Name returns the name of owner's delivery: the owner's own as far as it fits into a DNS label (RFC 1123), and a hash
// of its UID. The name says which task it belongs to, and a new task of an old name has a delivery of its own.
func Name(owner metav1.Object) string {
	prefix := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(owner.GetName()))
	prefix = strings.Trim(prefix[:min(len(prefix), maxNamePrefix)], "-")
	if prefix == "" {
		prefix = "task"
	}
	hash := sha256.Sum256([]byte(owner.GetUID()))
	return prefix + "-" + hex.EncodeToString(hash[:])[:uidDigits]
}
