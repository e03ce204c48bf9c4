// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func decode(t *testing.T, body []byte) v1alpha1.WebhookDelivery {
	t.Helper()
	var d v1alpha1.WebhookDelivery
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return d
}

func TestObjectsHaveTheirNameAndPayloadsTheirSize(t *testing.T) {
	for _, size := range []int{120, 500, 501, 502, 1 << 10, 16 << 10, 256 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			tmpl, err := newTemplate("https://receiver.example/", size, v1alpha1.WebhookDeliveryStatus{})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{0, 42, 1_234_567} {
				d := decode(t, tmpl.object(i))
				if d.Name != taskName(i) || d.Spec.Payload.TaskID != taskName(i) {
					t.Errorf("object %d is named %s, its task %s", i, d.Name, d.Spec.Payload.TaskID)
				}
				if got := len(d.Spec.Payload.Raw); got != size {
					t.Errorf("the payload has %d bytes, want %d", got, size)
				}
				if d.Status.Phase != "" {
					t.Errorf("status %+v, want none", d.Status)
				}
			}
		})
	}
}

func TestPayloadTooSmall(t *testing.T) {
	if _, err := newPayload(50); err == nil {
		t.Error("a payload of 50 bytes cannot be made")
	}
}

func TestWaitingObjectsSayWhenTheyAreDue(t *testing.T) {
	tmpl, err := newTemplate("https://receiver.example/", 500, waitingStatus())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2031, 2, 3, 4, 5, 6, 7_000, time.FixedZone("elsewhere", 3600))
	d := decode(t, tmpl.due(3, at))
	if next := d.Status.NextAttemptTime; d.Name != taskName(3) || next == nil || !next.Time.Equal(at) {
		t.Errorf("%s is due at %v, want %s", d.Name, next, at)
	}
	if bytes.Contains(tmpl.due(3, at), microTime(timePlace)) {
		t.Error("the place for the time is still there")
	}
	if got := len(tmpl.due(3, at)); got != len(tmpl) {
		t.Errorf("the object has %d bytes, want the template's %d", got, len(tmpl))
	}
	if d.IsFinished() || len(d.Status.Attempts) != 1 {
		t.Errorf("status %+v, want one failed attempt", d.Status)
	}
}

func TestDeliveredObjectsAreFinished(t *testing.T) {
	tmpl, err := newTemplate("https://receiver.example/", 500, deliveredStatus())
	if err != nil {
		t.Fatal(err)
	}
	d := decode(t, tmpl.object(1))
	if !d.IsFinished() || d.Status.CompletionTime == nil || d.Status.Conditions[0].Status != metav1.ConditionTrue {
		t.Errorf("status %+v, want delivered", d.Status)
	}
}
