// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	applyv1alpha1 "github.com/webhookdelivery/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// stories are the statuses of a delivery in each phase, by the name of the delivery. None has been written to the
// pending one.
var stories = map[string]string{
	"pending": "",
	"retrying": `{"phase":"Retrying","nextAttemptTime":"2031-01-01T00:00:10.500000Z",
		"attempts":[{"number":1,"startTime":"2031-01-01T00:00:00.000000Z","durationMilliseconds":5,"statusCode":503}],
		"conditions":[{"type":"Undeliverable","status":"False","reason":"Retrying","message":"",
		"lastTransitionTime":"2031-01-01T00:00:00Z"}]}`,
	"delivered": `{"phase":"Delivered","completionTime":"2031-01-01T00:00:11Z",
		"attempts":[{"number":1,"startTime":"2031-01-01T00:00:00.000000Z","durationMilliseconds":5,"statusCode":503},
		{"number":2,"startTime":"2031-01-01T00:00:10.000000Z","durationMilliseconds":5,"statusCode":200}],
		"conditions":[{"type":"Undeliverable","status":"False","reason":"Succeeded","message":"",
		"lastTransitionTime":"2031-01-01T00:00:00Z"}]}`,
	"undeliverable": `{"phase":"Undeliverable",
		"attempts":[{"number":4,"startTime":"2031-01-01T00:00:00.000000Z","durationMilliseconds":5}],
		"conditions":[{"type":"Undeliverable","status":"True","reason":"RetriesExhausted","message":"",
		"lastTransitionTime":"2031-01-01T00:00:00Z"}]}`,
	"waiting": `{"waitingSince":"2031-01-01T00:00:00.000000Z",
		"conditions":[{"type":"Undeliverable","status":"False","reason":"SecretNotFound","message":"",
		"lastTransitionTime":"2031-01-01T00:00:00Z"}]}`,
}

// tell creates a namespace with the stories in it.
func tell(t *testing.T, namespace string) {
	t.Helper()
	kubectl(t, "create namespace %s", namespace)
	for name, status := range stories {
		object := delivery(namespace)
		object.GenerateName, object.Name = "", name
		object.Spec.Payload.Raw = []byte(`{"task_id":"task of ` + name + `"}`)
		if name == "delivered" {
			object.Spec.TTLSecondsAfterFinished = new(int32(60))
		}
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		if status != "" {
			writeStatus(t, object, status)
		}
	}
}

func writeStatus(t *testing.T, object client.Object, status string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":`+status+`}`))
	if err := admin.Status().Patch(t.Context(), object, patch); err != nil {
		t.Fatal(err)
	}
}

func TestFieldSelectors(t *testing.T) {
	tell(t, "selectors")
	for selector, want := range map[string]string{
		"status.phase=Pending":                                "pending waiting",
		"status.phase!=Delivered,status.phase!=Undeliverable": "pending retrying waiting",
		"status.phase=Retrying":                               "retrying",
		"status.phase=Undeliverable":                          "undeliverable",
		"spec.payload.task_id=task of delivered":              "delivered",
		"spec.payload.task_id=nobody's":                       "",
	} {
		t.Run(selector, func(t *testing.T) {
			out, err := plane.Kubectl(t.Context(), "get", "whd", "-n", "selectors", "--field-selector", selector,
				"-o", "jsonpath={.items[*].metadata.name}")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	tell(t, "columns")
	age, columns := regexp.MustCompile(` \d+s\b`), regexp.MustCompile(` {2,}`)
	for flags, want := range map[string]string{
		"": `NAME | PHASE | REASON | ATTEMPTS | CODE | NEXT ATTEMPT | AGE
delivered | Delivered | Succeeded | 2 | 200 | AGE
pending | Pending | AGE
retrying | Retrying | Retrying | 1 | 503 | 2031-01-01T00:00:10.500000Z | AGE
undeliverable | Undeliverable | RetriesExhausted | 4 | AGE
waiting | Pending | SecretNotFound | AGE
`,
		" -o wide": `NAME | PHASE | REASON | ATTEMPTS | CODE | NEXT ATTEMPT | AGE | URL | COMPLETED | TTL
delivered | Delivered | Succeeded | 2 | 200 | AGE | https://receiver.example/webhook | 2031-01-01T00:00:11Z | 60
pending | Pending | AGE | https://receiver.example/webhook
retrying | Retrying | Retrying | 1 | 503 | 2031-01-01T00:00:10.500000Z | AGE | https://receiver.example/webhook
undeliverable | Undeliverable | RetriesExhausted | 4 | AGE | https://receiver.example/webhook
waiting | Pending | SecretNotFound | AGE | https://receiver.example/webhook
`,
	} {
		got := age.ReplaceAllString(kubectl(t, "get whd -n columns%s", flags), " AGE")
		var lines []string
		for line := range strings.Lines(got) {
			lines = append(lines, columns.ReplaceAllString(strings.TrimSpace(line), " | ")+"\n")
		}
		if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
			t.Errorf("kubectl get whd%s (-want +got):\n%s", flags, diff)
		}
	}
}

// anyJSON is a payload with more than the one key that the schema knows, in the form in which the API server stores it.
const anyJSON = `{"n":[1,2.5,null,{"":false}],"status":"finished","task_id":"t-1","text":"ü\"\\"}`

func TestPayloadSurvivesTypedCreate(t *testing.T) {
	object := delivery(tasks)
	object.Spec.Payload.Raw = []byte(anyJSON)
	if err := admin.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	checkPayload(t, "the answer", object)
	checkPayload(t, "the stored object", stored(t, object.Name))
}

func TestPayloadSurvivesTypedApply(t *testing.T) {
	var read payload.Payload
	if err := read.UnmarshalJSON([]byte(anyJSON)); err != nil {
		t.Fatal(err)
	}
	configuration := func() *applyv1alpha1.WebhookDeliveryApplyConfiguration {
		return applyv1alpha1.WebhookDelivery("applied-twice", tasks).
			WithSpec(applyv1alpha1.WebhookDeliverySpec().WithURL("https://receiver.example/webhook").WithPayload(read))
	}
	apply := func() *v1alpha1.WebhookDelivery {
		t.Helper()
		if err := admin.Apply(t.Context(), configuration(), client.FieldOwner("task-controller")); err != nil {
			t.Fatal(err)
		}
		object := stored(t, "applied-twice")
		checkPayload(t, "the stored object", object)
		return object
	}
	object := apply()
	// Creation stores no status, so that the next write of any kind adds the default one. Here that is the operator's.
	writeStatus(t, object, stories["retrying"])
	before := stored(t, "applied-twice")
	if diff := cmp.Diff(before, apply()); diff != "" {
		t.Errorf("applying the same again changed the object (-before +after):\n%s", diff)
	}
}

func stored(t *testing.T, name string) *v1alpha1.WebhookDelivery {
	t.Helper()
	object := &v1alpha1.WebhookDelivery{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: tasks, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

func checkPayload(t *testing.T, where string, object *v1alpha1.WebhookDelivery) {
	t.Helper()
	if diff := cmp.Diff(anyJSON, string(object.Spec.Payload.Raw)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", where, diff)
	}
	if object.Spec.Payload.TaskID != "t-1" {
		t.Errorf("%s: TaskID is %q", where, object.Spec.Payload.TaskID)
	}
}
