// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

const stamp = "v9.8.7-stamped"

// TestNamespacedInstall runs a manager with the rights and flags of config/overlays/namespaced alone, built as a release
// is, with its version, and with a namespace more in which it has no rights.
func TestNamespacedInstall(t *testing.T) {
	t.Parallel()
	bare := startBare(t)
	c, err := client.New(bare.Config(), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	agents := make(chan string, 10)
	to := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		agents <- r.Header.Get("User-Agent") + " to " + r.URL.Path + " with " + r.Header.Get("x-webhook-secret")
	}))
	defer to.Close()
	m, log := startNamespaced(t, bare, c, to)

	inside := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "inside"}}
	inside.Spec.URL, inside.Spec.Payload.Raw = to.URL+"/inside", []byte(`{"task_id":"t"}`)
	inside.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "webhook-secret"}
	outside := inside.DeepCopy()
	outside.Namespace, outside.Name, outside.Spec.URL = "elsewhere", "outside", to.URL+"/outside"
	for _, o := range []client.Object{makeSecret("webhook-secret", secret), outside, inside} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the delivery of the listed namespace", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(inside), inside); err != nil {
			return err
		}
		if !inside.IsDelivered() {
			return fmt.Errorf("its phase is %q%s", inside.Status.Phase, operator.Tail(log, 20))
		}
		return nil
	})
	want := "webhook-delivery-operator/" + stamp + " to /inside with " + secret
	if got := <-agents; got != want || len(agents) > 0 {
		t.Errorf("the receiver saw %q and %d more, want only %q", got, len(agents), want)
	}
	_, metrics := get(t, http.DefaultClient, m.MetricsURL(), "")
	for _, want := range []string{`webhookdelivery_build_info{version="` + stamp + `"} 1`, "webhookdelivery_namespaces_left_out 1"} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics have no line %s", want)
		}
	}

	ttl := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ttlSecondsAfterFinished":0}}`))
	if err := c.Patch(t.Context(), inside, ttl); err != nil {
		t.Fatal(err)
	}
	until(t, "its deletion by retention", func() error {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(inside), inside)
		if err == nil {
			return fmt.Errorf("it is there%s", operator.Tail(log, 20))
		}
		return client.IgnoreNotFound(err)
	})
	before := outside.DeepCopy()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(outside), outside); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, outside); diff != "" {
		t.Errorf("the delivery of another namespace has changed (-created +now):\n%s", diff)
	}
	if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "forbidden") {
		t.Errorf("the manager asked for what it may not have: %v%s", err, operator.Tail(log, 20))
	}
}

// startNamespaced installs the overlay, starts a manager with the flags of its Deployment, and returns it and its log.
func startNamespaced(
	t *testing.T, bare *controlplane.ControlPlane, c client.Client, to *httptest.Server,
) (*operator.Process, string) {
	t.Helper()
	for _, name := range []string{namespace, "elsewhere"} {
		if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := bare.Apply(t.Context(), filepath.Join(operator.Root(), "config", "overlays", "namespaced")); err != nil {
		t.Fatal(err)
	}
	user, err := bare.User("system:serviceaccount:" + operator.Namespace + ":webhook-delivery-operator")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := bare.Kubeconfig(user)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the rights", func() error {
		_, err := bare.Kubectl(t.Context(), "auth", "can-i", "watch", "webhookdeliveries.webhookdelivery.dev",
			"--namespace="+namespace, "--kubeconfig="+kubeconfig)
		return err
	})
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: operator.Namespace, Name: "webhook-delivery-operator"}
	if err := c.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	binary, authority := filepath.Join(t.TempDir(), "manager"), filepath.Join(t.TempDir(), "ca.pem")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-X main.version="+stamp, "-o", binary, ".")
	build.Dir = operator.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the manager: %v\n%s", err, out)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: to.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(to.URL)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "manager.log")
	m, err := operator.Start(t.Context(), operator.Options{
		Binary: binary, Kubeconfig: kubeconfig, LogFile: log,
		Args: append(deployment.Spec.Template.Spec.Containers[0].Args, "--ca-bundle="+authority,
			"--allow-cidrs=127.0.0.0/8", "--allowed-ports="+address.Port(), "--retention-interval=1s",
			"--namespaces="+namespace+",not-set-up"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := m.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, log
}
