// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

func TestOutcomes(t *testing.T) {
	tests := map[string]struct {
		path   string
		phase  v1alpha1.Phase
		reason v1alpha1.Reason
		codes  []int32
	}{
		"accepted":              {"/ok", v1alpha1.PhaseDelivered, v1alpha1.ReasonSucceeded, []int32{200}},
		"accepted with 204":     {"/status/204", v1alpha1.PhaseDelivered, v1alpha1.ReasonSucceeded, []int32{204}},
		"accepted by the 3rd":   {"/fail-first/2", v1alpha1.PhaseDelivered, v1alpha1.ReasonSucceeded, []int32{503, 503, 200}},
		"never accepted":        {"/status/500", v1alpha1.PhaseUndeliverable, v1alpha1.ReasonRetriesExhausted, []int32{500, 500, 500, 500}},
		"redirect to elsewhere": {"/redirect", v1alpha1.PhaseUndeliverable, v1alpha1.ReasonRetriesExhausted, []int32{307, 307, 307, 307}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := makeDelivery("outcome-"+strings.ReplaceAll(name, " ", "-"), tc.path)
			create(t, d)
			d = waitFor(t, d.Name, finished)
			var codes []int32
			for _, a := range d.Status.Attempts {
				codes = append(codes, a.StatusCode)
			}
			if diff := cmp.Diff(tc.codes, codes); diff != "" || d.Status.Phase != tc.phase {
				t.Errorf("phase %s, codes (-want +got):\n%s", d.Status.Phase, diff)
			}
			if c := meta.FindStatusCondition(d.Status.Conditions, string(tc.phase)); c == nil || c.Reason != string(tc.reason) {
				t.Errorf("condition %+v, want reason %s", c, tc.reason)
			}
			sawTheSame(t, d)
		})
	}
}

// sawTheSame checks that the receiver saw exactly the recorded attempts: all alike, with the right headers, in time.
func sawTheSame(t *testing.T, d *v1alpha1.WebhookDelivery) {
	t.Helper()
	saw := requests(d)
	if len(saw) != len(d.Status.Attempts) {
		t.Fatalf("the receiver saw %d requests, status has %d attempts", len(saw), len(d.Status.Attempts))
	}
	gaps := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	for i, r := range saw {
		if r.Secret != receiver.Passed || r.Signature != receiver.Passed || r.Status != int(d.Status.Attempts[i].StatusCode) ||
			r.BodySHA256 != saw[0].BodySHA256 || r.TaskID != d.Spec.Payload.TaskID {
			t.Errorf("request %d: %+v", i+1, r)
		}
		if i > 0 {
			if gap := r.Arrived.Sub(saw[i-1].Arrived); gap < gaps[i-1] || gap > gaps[i-1]*11/10+time.Second {
				t.Errorf("request %d came %s after the one before, want %s to 10 %% more", i+1, gap, gaps[i-1])
			}
		}
	}
	if len(inbox.ByID("")) != 0 {
		t.Error("the receiver saw a request without webhook-id")
	}
}

func TestPayloadArrivesAsTheAPIServerKeepsIt(t *testing.T) {
	t.Parallel()
	const sent = `{"task_id":"fidelity","big":9007199254740993,"float":1.5,"html":"<&>","nested":{"z":1,"a":[null,true]},"text":"é\n"}`
	d := makeDelivery("fidelity", "/ok")
	d.Spec.Payload = payload.Payload{Raw: []byte(sent)}
	create(t, d)
	waitFor(t, d.Name, finished)
	const want = `{"big":9007199254740993,"float":1.5,"html":"\u003c\u0026\u003e","nested":{"a":[null,true],"z":1},"task_id":"fidelity","text":"é\n"}`
	stored := waitFor(t, d.Name, finished)
	if diff := cmp.Diff(want, string(stored.Spec.Payload.Raw)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if got := requests(d); len(got) != 1 || got[0].BodyBytes != len(want) {
		t.Errorf("sent: %+v", got)
	}
}

func TestTimeoutIsTenSeconds(t *testing.T) {
	t.Parallel()
	d := makeDelivery("hang", "/hang")
	create(t, d)
	d = waitFor(t, d.Name, attempts(1))
	a := d.Status.Attempts[0]
	if a.Reason != v1alpha1.ReasonTimeout || a.DurationMilliseconds < 10_000 || a.DurationMilliseconds > 10_250 {
		t.Errorf("attempt %+v, want Timeout after 10 s", a)
	}
	if err := cluster.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestLateSecret(t *testing.T) {
	t.Parallel()
	d := makeDelivery("late-secret", "/ok")
	d.Spec.SecretRef.Name = "late"
	create(t, d)
	waitFor(t, d.Name, because(v1alpha1.ReasonSecretNotFound))
	create(t, makeSecret("late", secret))
	d = waitFor(t, d.Name, finished)
	if !d.IsDelivered() || len(d.Status.Attempts) != 1 {
		t.Errorf("status %+v", d.Status)
	}
	sawTheSame(t, d)
}

func TestRotatedSecret(t *testing.T) {
	t.Parallel()
	rotating := makeSecret("rotating", "outdated")
	create(t, rotating)
	d := makeDelivery("rotated-secret", "/ok")
	d.Spec.SecretRef.Name = "rotating"
	create(t, d)
	d = waitFor(t, d.Name, attempts(1))
	if code := d.Status.Attempts[0].StatusCode; code != 401 {
		t.Errorf("the outdated secret was answered with %d", code)
	}
	change(t, rotating, `{"stringData":{"webhook-secret":"rotated"}}`)
	if d = waitFor(t, d.Name, finished); !d.IsDelivered() || len(d.Status.Attempts) != 2 {
		t.Errorf("status %+v", d.Status)
	}
}

func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	d := makeDelivery("suspended", "/ok")
	d.Spec.Suspend = true
	create(t, d)
	waitFor(t, d.Name, because(v1alpha1.ReasonSuspended))
	if got := requests(d); len(got) != 0 {
		t.Errorf("sent while suspended: %+v", got)
	}
	change(t, d, `{"spec":{"suspend":false}}`)
	d = waitFor(t, d.Name, finished)
	sawTheSame(t, d)
}

func TestDeletedWhileWaiting(t *testing.T) {
	t.Parallel()
	d := makeDelivery("deleted", "/status/500")
	create(t, d)
	d = waitFor(t, d.Name, attempts(1))
	if err := cluster.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	other := makeDelivery("deleted-marker", "/status/500")
	create(t, other)
	waitFor(t, other.Name, finished) // by then all attempts of the deleted one would have been made
	if got := requests(d); len(got) != 1 {
		t.Errorf("%d requests, want the one before the deletion", len(got))
	}
}

func TestRedelivery(t *testing.T) {
	t.Parallel()
	d := makeDelivery("redelivered", "/ok")
	create(t, d)
	waitFor(t, d.Name, finished)
	kubectl(t, "label", "whd", "--field-selector", "status.phase=Delivered,metadata.name="+d.Name,
		v1alpha1.LabelRedeliver+"=true")
	again := waitFor(t, d.Name, func(d *v1alpha1.WebhookDelivery) bool {
		return d.IsFinished() && d.Status.Redeliveries == 1
	})
	if len(again.Labels) != 0 || again.Status.RedeliverAccepted || len(again.Status.Attempts) != 1 {
		t.Errorf("labels %v, status %+v", again.Labels, again.Status)
	}
	if got := requests(d); len(got) != 2 || got[1].BodySHA256 != got[0].BodySHA256 {
		t.Errorf("requests %+v", got)
	}
}

// TestAwkwardPayload would fail the list of all deliveries, and with it the operator, if members were matched without
// regard to case.
func TestAwkwardPayload(t *testing.T) {
	t.Parallel()
	d := makeDelivery("awkward", "/ok")
	d.Spec.Payload = payload.Payload{Raw: []byte(`{"TASK_ID":"x","Task_ID":5}`)}
	create(t, d)
	if d = waitFor(t, d.Name, finished); !d.IsDelivered() {
		t.Errorf("status %+v", d.Status)
	}
}
