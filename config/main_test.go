// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

// The namespaces of the tests. The samples and overlays name tasks, nothing names the other.
const (
	tasks     = "tasks"
	elsewhere = "elsewhere"
)

var (
	plane *controlplane.ControlPlane // config/default is installed in it
	admin client.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	admin, err = newClient(plane.Config())
	for _, namespace := range []string{tasks, elsewhere} {
		_, createErr := plane.Kubectl(ctx, "create", "namespace", namespace)
		err = errors.Join(err, createErr)
	}
	if err = errors.Join(err, plane.Apply(ctx, "testdata"), plane.Apply(ctx, "default")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// newClient returns a client that is strict: the API server refuses unknown fields instead of dropping them.
func newClient(cfg *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return client.WithFieldValidation(c, metav1.FieldValidationStrict), nil
}

// kubectl runs kubectl as the administrator; the arguments are separated by spaces.
func kubectl(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := plane.Kubectl(t.Context(), strings.Fields(fmt.Sprintf(format, args...))...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually repeats check until it returns nil, for what the API server brings into force some time after it has been
// stored: policies, roles and flow schemas.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(context.WithoutCancel(t.Context()), 50*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			last = check(ctx)
			return last == nil, nil
		})
	if err != nil {
		t.Fatalf("%s: %v: %v", what, err, last)
	}
}

// difference returns nil where got is what is wanted.
func difference(want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-want +got):\n%s", diff)
	}
	return nil
}

// delivery returns a delivery without a Secret to a public host.
func delivery(namespace string) *v1alpha1.WebhookDelivery {
	object := &v1alpha1.WebhookDelivery{}
	object.Namespace, object.GenerateName = namespace, "test-"
	object.Spec.URL = "https://receiver.example/webhook"
	object.Spec.Payload.Raw = []byte(`{"task_id":"t-1"}`)
	return object
}
