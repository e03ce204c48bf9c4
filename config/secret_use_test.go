// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	applyv1alpha1 "github.com/webhookdelivery/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// taskController is the service account that config/samples/tenancy lets use the Secret webhook-secret.
const taskController = "system:serviceaccount:tasks:task-controller"

// user returns the client of a user of that name, who holds the editor role in both namespaces.
func user(t *testing.T, name string) client.Client {
	t.Helper()
	cfg, err := plane.User(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	binding := strings.ReplaceAll(name, ":", "-") + "-edits"
	for _, namespace := range []string{tasks, elsewhere} {
		kubectl(t, "create rolebinding %s -n %s --clusterrole=webhookdelivery-editor --user=%s", binding, namespace, name)
	}
	eventually(t, name+" may create deliveries", func(ctx context.Context) error {
		return errors.Join(create(ctx, c, delivery(tasks)), create(ctx, c, delivery(elsewhere)))
	})
	return c
}

// naming returns a delivery that names Secrets; an empty name stands for no reference.
func naming(namespace, secret, clientCert, ca string) *v1alpha1.WebhookDelivery {
	object := delivery(namespace)
	if secret != "" {
		object.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: secret}
	}
	if clientCert+ca != "" {
		object.Spec.TLS = &v1alpha1.TLSConfig{}
	}
	if clientCert != "" {
		object.Spec.TLS.ClientCertSecretRef = &v1alpha1.SecretReference{Name: clientCert}
	}
	if ca != "" {
		object.Spec.TLS.CASecretRef = &v1alpha1.SecretReference{Name: ca}
	}
	return object
}

func TestWhoMayNameWhichSecret(t *testing.T) {
	const granted = "webhook-secret" // to the reader by get, to the task controller by use; there is no other Secret
	kubectl(t, "apply -n %s -f samples/00-secret.yaml -f samples/tenancy/secret-user.yaml", tasks)
	kubectl(t, "create role reader -n %s --verb=get --resource=secrets --resource-name=%s", tasks, granted)
	kubectl(t, "create rolebinding reader -n %s --role=reader --user=reader", tasks)
	users := map[string]client.Client{}
	for _, name := range []string{"reader", taskController, "stranger"} {
		users[name] = user(t, name)
	}
	for _, name := range []string{"reader", taskController} {
		eventually(t, name+" may name the Secret", func(ctx context.Context) error {
			return create(ctx, users[name], naming(tasks, granted, "", ""))
		})
	}
	eventually(t, "policy secret-use", func(ctx context.Context) error {
		return refused(create(ctx, users["stranger"], naming(tasks, granted, "", "")))
	})
	const (
		secretRef  = "secretRef"
		clientCert = "tls.clientCertSecretRef"
		ca         = "tls.caSecretRef"
	)
	for name, test := range map[string]struct {
		user          string
		object        *v1alpha1.WebhookDelivery
		field, denied string // the reference that is refused, and the Secret that it names
	}{
		"get":                     {user: "reader", object: naming(tasks, granted, granted, granted)},
		"get, another Secret":     {"reader", naming(tasks, "other", "", ""), secretRef, "other"},
		"use":                     {user: taskController, object: naming(tasks, granted, granted, granted)},
		"use, another Secret":     {taskController, naming(tasks, "other", "", ""), secretRef, "other"},
		"use, another client":     {taskController, naming(tasks, granted, "other", granted), clientCert, "other"},
		"use, another ca":         {taskController, naming(tasks, granted, granted, "other"), ca, "other"},
		"use, another namespace":  {taskController, naming(elsewhere, granted, "", ""), secretRef, granted},
		"neither, no reference":   {user: "stranger", object: naming(tasks, "", "", "")},
		"neither, secretRef":      {"stranger", naming(tasks, granted, "", ""), secretRef, granted},
		"neither, client":         {"stranger", naming(tasks, "", granted, ""), clientCert, granted},
		"neither, ca":             {"stranger", naming(tasks, "", "", granted), ca, granted},
		"neither, no such Secret": {"stranger", naming(tasks, "other", "", ""), secretRef, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if test.field != "" {
				want = fmt.Sprintf("spec.%[1]s.name: user '%[2]s' may use Secret '%[3]s' of namespace '%[4]s' in a delivery "+
					"only with the verb 'use' or 'get' on it: ask for a Role in that namespace with verbs [use], "+
					"resources [secrets], resourceNames ['%[3]s']", test.field, test.user, test.denied, test.object.Namespace)
			}
			got := denial(t, create(t.Context(), users[test.user], test.object))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what the user reads (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("use is not get", func(t *testing.T) {
		key := client.ObjectKey{Namespace: tasks, Name: granted}
		if err := users[taskController].Get(t.Context(), key, &corev1.Secret{}); !apierrors.IsForbidden(err) {
			t.Errorf("reading the Secret: %v, want it forbidden", err)
		}
	})
	t.Run("apply is create too", func(t *testing.T) {
		object := naming(tasks, granted, "", "")
		err := users["stranger"].Apply(t.Context(), applyv1alpha1.WebhookDelivery("applied", tasks).WithSpec(
			applyv1alpha1.WebhookDeliverySpec().WithURL(object.Spec.URL).WithPayload(object.Spec.Payload).
				WithSecretRef(applyv1alpha1.SecretKeyReference().WithName(granted))), client.FieldOwner("test"))
		if denial(t, err) == "" {
			t.Error("a stranger created a delivery that names the Secret by server-side apply")
		}
	})
	t.Run("an existing delivery can be suspended", func(t *testing.T) {
		object := naming(tasks, granted, "", "")
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))
		if err := users["stranger"].Patch(t.Context(), object, patch); err != nil {
			t.Error(err)
		}
	})
}
