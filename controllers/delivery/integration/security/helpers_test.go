// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/operator"
)

// patience is how long a test waits for what should take a moment.
const patience = 30 * time.Second

func makeDelivery(namespace, name, url string) *v1alpha1.WebhookDelivery {
	d := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	d.Spec.URL = url
	d.Spec.Payload.Raw = []byte(`{"task_id":"` + name + `"}`)
	return d
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := cluster.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// store creates the Secret, or gives it these values and no others.
func store(t *testing.T, namespace, name string, values map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: values}
	err := cluster.Create(t.Context(), secret.DeepCopy())
	if err != nil {
		err = cluster.Update(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor returns d as it is once it satisfies done.
func waitFor(
	t *testing.T, d *v1alpha1.WebhookDelivery, done func(*v1alpha1.WebhookDelivery) bool,
) *v1alpha1.WebhookDelivery {
	t.Helper()
	key, d := client.ObjectKeyFromObject(d), &v1alpha1.WebhookDelivery{}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) {
			err := cluster.Get(ctx, key, d)
			return err == nil && done(d), err
		})
	if err != nil {
		t.Fatalf("%s: %v; status: %+v%s", key, err, d.Status, operator.Tail(managers[key.Namespace].log, 20))
	}
	return d
}

func finished(d *v1alpha1.WebhookDelivery) bool { return d.IsFinished() }

func attempts(n int) func(*v1alpha1.WebhookDelivery) bool {
	return func(d *v1alpha1.WebhookDelivery) bool { return len(d.Status.Attempts) >= n }
}

func because(reason v1alpha1.Reason) func(*v1alpha1.WebhookDelivery) bool {
	return func(d *v1alpha1.WebhookDelivery) bool { return why(d) == reason }
}

// why is the reason of d's conditions, which share it.
func why(d *v1alpha1.WebhookDelivery) v1alpha1.Reason {
	if len(d.Status.Conditions) == 0 {
		return ""
	}
	return v1alpha1.Reason(d.Status.Conditions[0].Reason)
}

// message is what the conditions of d say.
func message(d *v1alpha1.WebhookDelivery) (text string) {
	for _, c := range d.Status.Conditions {
		text += c.Message
	}
	return text
}

// reasons are those of d's attempts; empty for one that succeeded.
func reasons(d *v1alpha1.WebhookDelivery) (all []v1alpha1.Reason) {
	for _, a := range d.Status.Attempts {
		all = append(all, a.Reason)
	}
	return all
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
