// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the manager as users run it: the real binary with the shipped rights, a real API server and
// a receiver on HTTPS.
package integration

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// What the tests of this package share: they run side by side, each with objects of its own names.
var (
	plane   *controlplane.ControlPlane
	cluster client.WithWatch
	inbox   *receiver.Server
	manager *operator.Process
	// fetchURL is where the manager serves /fetch.
	fetchURL string
)

const (
	namespace = "tasks"
	secret    = "my-secret-123"
	// patience is how long a test waits for what should take a moment.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	log.SetLogger(logr.Discard()) // the warnings of admission policies are looked for where they are the point
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := operator.Build(ctx); err != nil {
		return 0, err
	}
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return 0, err
	}
	defer plane.Stop() //nolint:errcheck // the verdict of the tests stands
	if inbox, err = receiver.Start(receiver.Options{Secrets: []string{secret, "rotated"}}); err != nil {
		return 0, err
	}
	defer inbox.Close()
	if err := startManager(ctx); err != nil {
		return 0, err
	}
	defer manager.Kill() //nolint:errcheck // as above
	if err := seedNamespace(ctx); err != nil {
		return 0, err
	}
	// The tests mostly wait, so more of them than there are processors may run at once.
	if err := flag.Set("test.parallel", "16"); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, manager.Stop()
}

func startManager(ctx context.Context) error {
	kubeconfig, err := operator.Install(ctx, plane, operator.WithJobs)
	if err != nil {
		return err
	}
	authority := filepath.Join(plane.Dir(), "receiver-ca.pem")
	if err := os.WriteFile(authority, inbox.CA(), 0o600); err != nil {
		return err
	}
	to, err := url.Parse(inbox.URL())
	if err != nil {
		return err
	}
	address, err := operator.FreeAddress(ctx)
	if err != nil {
		return err
	}
	fetchURL = "http://" + address + "/fetch"
	manager, err = operator.Start(ctx, operator.Options{
		Kubeconfig: kubeconfig, LogFile: filepath.Join(plane.Dir(), "manager.log"),
		Args: []string{
			"--retry-schedule=1s,2s,3s", "--ca-bundle=" + authority,
			"--allow-cidrs=127.0.0.0/8", "--allowed-ports=" + to.Port(),
			"--jobs", "--fetch-bind-address=" + address, "--max-payload=2000000",
		},
	})
	if err != nil {
		return err
	}
	return manager.WaitReady(ctx)
}

func seedNamespace(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var err error
	if cluster, err = client.NewWithWatch(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := cluster.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	return cluster.Create(ctx, makeSecret("webhook-secret", secret))
}

func makeSecret(name, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string][]byte{"webhook-secret": []byte(value)},
	}
}

// makeDelivery returns a delivery of a finished task to the given path of the receiver.
func makeDelivery(name, path string) *v1alpha1.WebhookDelivery {
	d := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	d.Spec.URL = inbox.URL() + path
	d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "webhook-secret"}
	d.Spec.Payload, _ = payload.New(map[string]any{
		"task_id": name, "task_type": "imagine", "status": "finished", "percentage": "100",
		"image_urls": []string{"https://cdn.example/0.png?a=1&b=<2>"},
	})
	return d
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := cluster.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// change changes the object as a user does, again if another write came between.
func change(t *testing.T, o client.Object, patch string) {
	t.Helper()
	if err := cluster.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// waitFor returns the object once it satisfies done.
func waitFor(t *testing.T, name string, done func(*v1alpha1.WebhookDelivery) bool) *v1alpha1.WebhookDelivery {
	t.Helper()
	d := &v1alpha1.WebhookDelivery{}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) {
			err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d)
			return err == nil && done(d), err
		})
	if err != nil {
		t.Fatalf("%v; status: %+v%s", err, d.Status, operator.Tail(filepath.Join(plane.Dir(), "manager.log"), 20))
	}
	return d
}

func finished(d *v1alpha1.WebhookDelivery) bool { return d.IsFinished() }

func because(reason v1alpha1.Reason) func(*v1alpha1.WebhookDelivery) bool {
	return func(d *v1alpha1.WebhookDelivery) bool {
		return len(d.Status.Conditions) > 0 && d.Status.Conditions[0].Reason == string(reason)
	}
}

func attempts(n int) func(*v1alpha1.WebhookDelivery) bool {
	return func(d *v1alpha1.WebhookDelivery) bool { return len(d.Status.Attempts) >= n }
}

// requests are what the receiver saw of d.
func requests(d *v1alpha1.WebhookDelivery) []receiver.Record { return inbox.ByID(string(d.UID)) }

// get returns the answer to a request, with a bearer token if it is not empty; code 0 and why if there is none.
func get(t *testing.T, c *http.Client, url, token string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

// until waits for what check does not complain of any more.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true,
		func(context.Context) (bool, error) {
			last = check()
			return last == nil, nil
		})
	if err != nil {
		t.Fatalf("%s: %v: %v", what, err, last)
	}
}
