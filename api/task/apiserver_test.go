// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/task"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

// api is a strict client of a real API server.
var api client.Client

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	plane, err := controlplane.Start(context.Background(), controlplane.Options{})
	if err == nil {
		defer func() {
			if err := plane.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		err = plane.Apply(context.Background(), "../../config/crd")
	}
	if err == nil {
		scheme := runtime.NewScheme()
		_ = v1alpha1.AddToScheme(scheme)
		api, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	api = client.WithFieldValidation(api, metav1.FieldValidationStrict)
	return m.Run()
}

// TestAPIServerStoresItAsItIs shows that the bytes that are built are the bytes that are sent, so that their size can
// be judged beforehand, and that a controller which is not sure may create the object once more.
func TestAPIServerStoresItAsItIs(t *testing.T) {
	o, r, target := good()
	o.Namespace = metav1.NamespaceDefault
	target.SecretName = "webhook"
	r.Extra = map[string]any{
		"text":    "Grüße, 世界 👋 <b>&\u2028\x00\\\"",
		"numbers": json.RawMessage(`[1.0, 1e3, 1e20, -9223372036854775808, 9223372036854775807, 1e21, 1e-7, -0.0, 0.10]`),
		"null":    nil, "empty": map[string]any{}, "nested": []any{map[string]any{"b": 1, "a": []any{}}},
		"escaped": json.RawMessage(`"\u00fc\u003c\/"`),
	}
	built, err := task.Delivery(o, imagine, r, target)
	if err != nil {
		t.Fatal(err)
	}
	stored := built.DeepCopy()
	if err := api.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(built.Spec.Payload.Raw), string(stored.Spec.Payload.Raw)); diff != "" {
		t.Errorf("payload (-built +stored):\n%s", diff)
	}
	if diff := cmp.Diff(built.OwnerReferences, stored.OwnerReferences); diff != "" {
		t.Errorf("owner (-built +stored):\n%s", diff)
	}
	if err := api.Create(t.Context(), built.DeepCopy()); !apierrors.IsAlreadyExists(err) {
		t.Errorf("created again: %v", err)
	}
}

// TestURLsAsTheAPIServerSeesThem accepts what the CRD accepts and refuses what it refuses.
func TestURLsAsTheAPIServerSeesThem(t *testing.T) {
	for _, url := range []string{
		"https://receiver.example", "https://receiver.example/webhook?a=b%40c", "https://receiver.example?c=https://x:0",
		"https://receiver.example/a:0//b:99999?c=:0", "https://receiver.example:1/", "https://receiver.example:65535",
		"https://receiver.example:/", "HTTPS://RECEIVER.EXAMPLE/", "https://xn--bcher-kva.example/",
		"https://192.0.2.1:8443/", "https://[2001:db8::1]:8443/", "http://receiver.example/",
		"https://receiver.example/" + strings.Repeat("x", 2048-len("https://receiver.example/")),

		"", "receiver.example/webhook", "//receiver.example/webhook", "/webhook", "https:receiver.example",
		"https:///webhook", "https://:443/webhook", "ftp://receiver.example/", "javascript:alert(1)", "*",
		"https://receiver%2eexample/", "https://receiver.example/%zz", "https://receiver.example:443x/",
		"https://receiver.example:-1/", "https://receiver.example:1:2/", "https://receiver.example:0/",
		"https://receiver.example:00443", "https://receiver.example:65536?x", "https://receiver.example:99999/",
		"https://receiver.example:12345678901234567890", "https://[2001:db8::1]:0/", "https://[2001:db8::1/",
		"https://user:password@receiver.example/", "https://user@receiver.example/", "https://receiver.example/a:0/@",
		"https://receiver.example/#top", "https://receiver.example/#", "https://bücher.example/",
		"https://receiver.example/ü", "https://receiver.example/a b", "https://receiver.example/\n",
		"https://receiver.example/\x00", "https://receiver.example/\x7f",
		"https://receiver.example/" + strings.Repeat("x", 2049-len("https://receiver.example/")),
	} {
		o, r, target := good()
		o.Name = "urls"
		valid, err := task.Delivery(o, imagine, r, target)
		if err != nil {
			t.Fatal(err)
		}
		target.URL = url
		_, refused := task.Delivery(o, imagine, r, target)
		valid.Spec.URL, valid.Namespace = url, metav1.NamespaceDefault
		answer := api.Create(t.Context(), valid, client.DryRunAll)
		if answer != nil && !apierrors.IsInvalid(answer) {
			t.Fatal(answer)
		}
		if (refused == nil) != (answer == nil) {
			t.Errorf("%q: here %v, API server %v", url, refused, answer)
		}
	}
}
