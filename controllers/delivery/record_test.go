// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// TestStatusPatch applies the patch of each status to each other: what comes out is the status that was meant, whole.
func TestStatusPatch(t *testing.T) {
	statuses := map[string]v1alpha1.WebhookDeliveryStatus{
		"empty":     {},
		"pending":   makeDelivery("a").obj().Status,
		"retrying":  makeDelivery("a").failed(2, t0, 503, t0.Add(30*time.Second)).obj().Status,
		"waiting":   makeDelivery("a").waiting(v1alpha1.ReasonSecretNotFound, t0).obj().Status,
		"delivered": DefaultPolicy().afterAttempt(makeDelivery("a").obj(), success(1, t0)),
		"accepted": afterAccept(makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) {
			d.Status = DefaultPolicy().afterAttempt(d, success(1, t0))
		}).obj(), t0),
	}
	for from, before := range statuses {
		for to, want := range statuses {
			t.Run(from+" to "+to, func(t *testing.T) {
				stored, err := json.Marshal(v1alpha1.WebhookDelivery{Status: before})
				if err != nil {
					t.Fatal(err)
				}
				patch, err := statusPatch("42", want)
				if err != nil {
					t.Fatal(err)
				}
				merged, err := jsonpatch.MergePatch(stored, patch)
				if err != nil {
					t.Fatalf("%v: %s", err, patch)
				}
				var got v1alpha1.WebhookDelivery
				if err := json.Unmarshal(merged, &got); err != nil {
					t.Fatal(err)
				}
				raw, err := json.Marshal(got.Status)
				if err != nil {
					t.Fatal(err)
				}
				meant, err := json.Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(meant), string(raw)); diff != "" || got.ResourceVersion != "42" {
					t.Errorf("resourceVersion %s, status (-want +got):\n%s", got.ResourceVersion, diff)
				}
			})
		}
	}
}

// TestStatusFieldsAreLeftOutWhenEmpty keeps to what statusPatch relies on.
func TestStatusFieldsAreLeftOutWhenEmpty(t *testing.T) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[v1alpha1.WebhookDeliveryStatus]()) {
		if !strings.HasSuffix(field.Tag.Get("json"), ",omitempty") {
			t.Errorf("field %s is not omitempty", field.Name)
		}
	}
}
