// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// deniedRequest stands between the names of policy and binding and the policy's own part of a message.
const deniedRequest = "denied request: "

// denial is the policy's own part of what a user reads.
func denial(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	_, message, found := strings.Cut(err.Error(), deniedRequest)
	if !found || !apierrors.IsForbidden(err) {
		t.Fatalf("not denied by a policy but: %v", err)
	}
	return message
}

// create asks whether c may create the object.
func create(ctx context.Context, c client.Client, object *v1alpha1.WebhookDelivery) error {
	return c.Create(ctx, object.DeepCopy(), client.DryRunAll)
}

// refused turns the answer of create round. Any other error than a denial by a policy stays one.
func refused(err error) error {
	switch {
	case err == nil:
		return errors.New("admitted")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), deniedRequest):
		return nil
	}
	return err
}

func TestHTTPSOnly(t *testing.T) {
	const notHTTPS = "spec.url must be an https URL: " +
		"anything else would show the secret and the payload to everyone on the way"
	object := delivery(tasks)
	object.Spec.URL = "http://receiver.example/"
	eventually(t, "policy https-only", func(ctx context.Context) error {
		return refused(create(ctx, admin, object))
	})
	for url, want := range map[string]string{
		"http://receiver.example/":  notHTTPS,
		"HTTP://receiver.example/":  notHTTPS,
		"https://receiver.example/": "",
		"HTTPS://receiver.example/": "",
	} {
		object.Spec.URL = url
		if diff := cmp.Diff(want, denial(t, create(t.Context(), admin, object))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}
