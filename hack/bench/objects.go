// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const (
	secretName = "webhook-secret"
	// defaultPayload is the size that figures are for, in bytes.
	defaultPayload = 500
)

// template is an object in JSON, computed once: per object only its name, and the time of its next attempt if it has
// one, are put in.
type template []byte

// The places to fill in are as long as what comes there, so that objects have the size that was asked for. Their values
// occur nowhere else.
var (
	namePlace = taskName(9_999_999)
	timePlace = metav1.NewMicroTime(time.Date(1970, 1, 1, 1, 1, 1, 999_999_000, time.UTC))
)

func taskName(i int) string { return fmt.Sprintf("task-%07d", i) }

// newTemplate returns a delivery to url with a payload of size bytes and that status.
func newTemplate(url string, size int, status v1alpha1.WebhookDeliveryStatus) (template, error) {
	d := &v1alpha1.WebhookDelivery{}
	d.APIVersion, d.Kind = v1alpha1.GroupVersion.String(), "WebhookDelivery"
	d.Name = namePlace
	d.Spec.URL = url
	d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: secretName}
	d.Status = status
	var err error
	if d.Spec.Payload, err = newPayload(size); err != nil {
		return nil, err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("an object to create: %w", err)
	}
	return body, nil
}

// object returns the i-th object.
func (t template) object(i int) []byte {
	return bytes.ReplaceAll(t, []byte(namePlace), []byte(taskName(i)))
}

// due returns the i-th object of a template whose status has timePlace as the time of its next attempt.
func (t template) due(i int, at time.Time) []byte {
	return bytes.ReplaceAll(t.object(i), microTime(timePlace), microTime(metav1.NewMicroTime(at)))
}

func microTime(t metav1.MicroTime) []byte {
	return t.UTC().AppendFormat(nil, metav1.RFC3339Micro)
}

// newPayload returns a result as a task service sends it, with as many links as it takes to be of size bytes.
func newPayload(size int) (payload.Payload, error) {
	const link = "https://cdn.example/550e8400-e29b-41d4-a716-446655440000/%06d.png?width=1024&height=1024"
	result := map[string]any{
		"task_id": namePlace, "task_type": "imagine", "status": "finished", "percentage": "100", "note": "",
	}
	links := []string{}
	for {
		result["image_urls"] = links
		p, err := payload.New(result)
		if err != nil {
			return p, err
		}
		missing := size - len(p.Raw)
		// A link takes its characters, two quotes, a comma, and 5 more for its ampersand, stored as \u0026.
		more := missing / (len(fmt.Sprintf(link, 0)) + 8)
		if more > 0 {
			for range more {
				links = append(links, fmt.Sprintf(link, len(links)))
			}
			continue
		}
		if missing < 0 {
			return p, fmt.Errorf("a payload of %d bytes is %d too small", size, -missing)
		}
		result["note"] = strings.Repeat("x", missing)
		return payload.New(result)
	}
}

// deliveredStatus is what a delivery has once its first attempt has succeeded.
func deliveredStatus() v1alpha1.WebhookDeliveryStatus {
	now := metav1.Now()
	return v1alpha1.WebhookDeliveryStatus{
		ObservedGeneration: 1, Phase: v1alpha1.PhaseDelivered, CompletionTime: &now,
		Attempts: []v1alpha1.Attempt{{
			Number: 1, StartTime: metav1.NowMicro(), DurationMilliseconds: 2, StatusCode: 200, Message: "200 OK",
		}},
		Conditions: conditions(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "200 OK on attempt 1 of 4"),
	}
}

// waitingStatus is what a delivery has whose first attempt has failed, with timePlace as the time of its next.
func waitingStatus() v1alpha1.WebhookDeliveryStatus {
	const failure = "503 Service Unavailable"
	return v1alpha1.WebhookDeliveryStatus{
		ObservedGeneration: 1, Phase: v1alpha1.PhaseRetrying, NextAttemptTime: &timePlace,
		Attempts: []v1alpha1.Attempt{{
			Number: 1, StartTime: metav1.NowMicro(), DurationMilliseconds: 2, StatusCode: 503,
			Reason: v1alpha1.ReasonUnexpectedStatus, Message: failure,
		}},
		Conditions: conditions(metav1.ConditionFalse, v1alpha1.ReasonRetrying, "attempt 1 of 4 failed: "+failure),
	}
}

func conditions(delivered metav1.ConditionStatus, reason v1alpha1.Reason, message string) []metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionDelivered, Status: delivered, Reason: string(reason), Message: message,
		ObservedGeneration: 1, LastTransitionTime: metav1.Now(),
	}
	other := c
	other.Type, other.Status, other.Message = v1alpha1.ConditionUndeliverable, metav1.ConditionFalse, ""
	return []metav1.Condition{c, other}
}
