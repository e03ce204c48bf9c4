// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// load returns the object that an API server stored, and its JSON.
func load(t *testing.T, name string) (*v1alpha1.WebhookDelivery, []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	d := &v1alpha1.WebhookDelivery{}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(d); err != nil {
		t.Fatal(err)
	}
	return d, raw
}

// TestStoredObjects loads objects as version v1alpha1 has stored them. They must never be edited to make a change of the
// code pass: such objects lie in clusters.
func TestStoredObjects(t *testing.T) {
	at := func(clock string) time.Time {
		now, err := time.Parse(time.RFC3339Nano, "2026-01-02T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	tests := map[string]struct {
		now  time.Time
		want step
	}{
		"pending":            {at("03:04:05"), step{action: send}},
		"waiting-for-secret": {at("03:04:35"), step{action: send}},
		"retrying":           {at("03:04:56.654321"), step{action: wait, after: time.Second}},
		"suspended":          {at("03:10:00"), step{action: idle}},
		"delivered":          {at("03:10:00"), step{action: idle}},
		"undeliverable":      {at("03:10:00"), step{action: idle}},
		"redelivered":        {at("04:00:01"), step{action: unlabel}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d, raw := load(t, name)
			p := DefaultPolicy()
			got := p.plan(d, p.dueTime(d, tc.now), tc.now)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			written, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(generic(t, raw), generic(t, written)); diff != "" {
				t.Errorf("written again (-stored +written):\n%s", diff)
			}
		})
	}
	if files, err := filepath.Glob("testdata/*.json"); err != nil || len(files) != len(tests) {
		t.Errorf("%d files for %d tests: %v", len(files), len(tests), err)
	}
}

// TestStoredObjectsGoOn plans what follows from a stored object: the same as if the process that stored it had gone on.
func TestStoredObjectsGoOn(t *testing.T) {
	p := DefaultPolicy()
	retrying, _ := load(t, "retrying")
	due := retrying.Status.NextAttemptTime.Time
	if got := p.plan(retrying, p.dueTime(retrying, due), due).action; got != send {
		t.Errorf("retrying, when it is due: action %d, want send", got)
	}
	third := failure(3, due)
	next := p.afterAttempt(retrying, third)
	if len(next.Attempts) != 3 || !cmp.Equal(next.Attempts[:2], retrying.Status.Attempts) ||
		next.NextAttemptTime.Sub(third.end()) < p.Schedule[2] {
		t.Errorf("after the third attempt: %+v", next)
	}
	waiting, _ := load(t, "waiting-for-secret")
	since := waiting.Status.WaitingSince.Time
	after := func(d time.Duration) step {
		now := since.Add(d)
		waited, _ := newLedger().waited(types.NamespacedName{}, waiting, now)
		return p.planWithoutSecret(waiting, v1alpha1.ReasonSecretNotFound, "gone", waited, now)
	}
	got := after(8 * time.Second)
	if diff := cmp.Diff(step{action: wait, after: 8 * time.Second}, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("waiting for its Secret (-want +got):\n%s", diff)
	}
	if got = after(p.SecretWaitTimeout); got.action != finish {
		t.Errorf("an hour after the recorded start of the wait: action %d, want finish", got.action)
	}
	suspended, _ := load(t, "suspended")
	suspended.Spec.Suspend = false
	now := suspended.Status.NextAttemptTime.Add(-time.Second)
	if got := p.plan(suspended, p.dueTime(suspended, now), now); got.action != note || got.after != time.Second {
		t.Errorf("resumed: %+v, want a note and a second to wait", got)
	}
	redelivered, _ := load(t, "redelivered")
	redelivered.Labels = nil
	if got := p.plan(redelivered, p.dueTime(redelivered, now), now).action; got != send {
		t.Errorf("redelivered, once the label is gone: action %d, want send", got)
	}
}

// TestStoredObjectsHaveEveryField fails when a field is new: store an object that has it.
func TestStoredObjectsHaveEveryField(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		_, raw := load(t, strings.TrimSuffix(filepath.Base(file), ".json"))
		all.Write(raw)
	}
	for _, kind := range []reflect.Type{
		reflect.TypeFor[v1alpha1.WebhookDeliverySpec](), reflect.TypeFor[v1alpha1.SecretKeyReference](),
		reflect.TypeFor[v1alpha1.TLSConfig](), reflect.TypeFor[v1alpha1.WebhookDeliveryStatus](),
		reflect.TypeFor[v1alpha1.Attempt](),
	} {
		for _, field := range reflect.VisibleFields(kind) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !strings.Contains(all.String(), `"`+name+`":`) {
				t.Errorf("no stored object has %s.%s", kind.Name(), name)
			}
		}
	}
}

func generic(t *testing.T, raw []byte) (fields map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}
