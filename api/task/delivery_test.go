// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/task"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

var imagine = schema.GroupVersionKind{Group: "tasks.example.com", Version: "v1", Kind: "Imagine"}

func owner(name, uid string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tasks", Name: name, UID: types.UID(uid)}}
}

// good has what every delivery needs.
func good() (*metav1.PartialObjectMetadata, task.Result, task.Target) {
	return owner("a-castle", "550e8400-e29b-41d4-a716-446655440000"), task.Result{Status: task.Finished},
		task.Target{URL: "https://your-server.example/webhook"}
}

func TestDelivery(t *testing.T) {
	o, r, target := good()
	r.Extra = map[string]any{"image_urls": []string{"https://cdn.example/0.png?a=1&b=2"}, "seed": 42}
	target.SecretName, target.SecretKey = "webhook", "current"
	got, err := task.Delivery(o, imagine, r, target)
	if err != nil {
		t.Fatal(err)
	}
	want := &v1alpha1.WebhookDelivery{
		TypeMeta: metav1.TypeMeta{APIVersion: "webhookdelivery.dev/v1alpha1", Kind: "WebhookDelivery"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "tasks", Name: "a-castle-a3a9e1ed97",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "tasks.example.com/v1", Kind: "Imagine", Name: "a-castle",
				UID: "550e8400-e29b-41d4-a716-446655440000", Controller: new(true)}}},
		Spec: v1alpha1.WebhookDeliverySpec{
			URL:       "https://your-server.example/webhook",
			SecretRef: &v1alpha1.SecretKeyReference{Name: "webhook", Key: "current"},
			Payload: payload.Payload{TaskID: "550e8400-e29b-41d4-a716-446655440000", Raw: []byte(
				`{"image_urls":["https://cdn.example/0.png?a=1\u0026b=2"],"percentage":"100","seed":42,` +
					`"status":"finished","task_id":"550e8400-e29b-41d4-a716-446655440000","task_type":"imagine"}`)},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !metav1.IsControlledBy(got, o) {
		t.Error("the task is not the delivery's controller")
	}
}

func TestPayloads(t *testing.T) {
	for name, tc := range map[string]struct {
		result task.Result
		want   string
	}{
		"finished": {task.Result{Status: task.Finished},
			`{"percentage":"100","status":"finished","task_id":"u","task_type":"imagine"}`},
		"finished 100": {task.Result{Status: task.Finished, Percentage: 100},
			`{"percentage":"100","status":"finished","task_id":"u","task_type":"imagine"}`},
		"failed": {task.Result{Status: task.Failed, Error: "Content policy violation"},
			`{"error":"Content policy violation","status":"failed","task_id":"u","task_type":"imagine"}`},
		"failed half way": {task.Result{Status: task.Failed, Error: "x", Percentage: 50},
			`{"error":"x","percentage":"50","status":"failed","task_id":"u","task_type":"imagine"}`},
		"named": {task.Result{Status: task.Failed, Error: "x", TaskID: "t-1", TaskType: "describe"},
			`{"error":"x","status":"failed","task_id":"t-1","task_type":"describe"}`},
		"numbers as an API server stores them": {task.Result{Status: task.Finished, Extra: map[string]any{
			"n": json.RawMessage(`[ 1.0, 1e3, 9223372036854775807, 1e21, 0.10 ]`)}},
			`{"n":[1,1000,9223372036854775807,1e+21,0.1],` +
				`"percentage":"100","status":"finished","task_id":"u","task_type":"imagine"}`},
		"text as an API server stores it": {task.Result{Status: task.Finished, Extra: map[string]any{
			"t": json.RawMessage(`"\u00fc\u4e16 <>\u2028"`), "null": nil}},
			`{"null":null,"percentage":"100","status":"finished","t":"ü世 \u003c\u003e\u2028",` +
				`"task_id":"u","task_type":"imagine"}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, target := good()
			got, err := task.Delivery(owner("a", "u"), imagine, tc.result, target)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got.Spec.Payload.Raw)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// input is what a delivery is made from.
type input struct {
	owner  *metav1.PartialObjectMetadata
	kind   schema.GroupVersionKind
	result task.Result
	target task.Target
}

func extra(key string, value any) func(*input) {
	return func(in *input) { in.result.Extra = map[string]any{key: value} }
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*input)
		want   []string
	}{
		"nothing wrong":   {func(*input) {}, nil},
		"core kind":       {func(in *input) { in.kind = schema.GroupVersionKind{Version: "v1", Kind: "Pod"} }, nil},
		"longest task id": {func(in *input) { in.result.TaskID = strings.Repeat("世", 253) }, nil},
		"secret key":      {func(in *input) { in.target.SecretName, in.target.SecretKey = "s", "k" }, nil},

		"no kind":      {func(in *input) { in.kind.Kind = "" }, []string{"a version and a kind"}},
		"no version":   {func(in *input) { in.kind.Version = "" }, []string{"a version and a kind"}},
		"not stored":   {func(in *input) { in.owner.UID = "" }, []string{"must be stored first"}},
		"no name":      {func(in *input) { in.owner.Name = "" }, []string{"must be stored first"}},
		"cluster-wide": {func(in *input) { in.owner.Namespace = "" }, []string{"no namespace"}},

		"no status":              {func(in *input) { in.result.Status = "" }, []string{`must be "finished" or "failed"`}},
		"another status":         {func(in *input) { in.result.Status = "done" }, []string{`Status is "done"`}},
		"failed without error":   {func(in *input) { in.result.Status = task.Failed }, []string{"needs an Error"}},
		"finished with error":    {func(in *input) { in.result.Error = "x" }, []string{"must not have an Error"}},
		"finished half way":      {func(in *input) { in.result.Percentage = 50 }, []string{"Percentage is 50"}},
		"less than nothing":      {func(in *input) { in.result.Percentage = -100 }, []string{"Percentage is -100"}},
		"more than all":          {func(in *input) { in.result.Percentage = 200 }, []string{"Percentage is 200"}},
		"task id too long":       {func(in *input) { in.result.TaskID = strings.Repeat("x", 254) }, []string{"at most 253"}},
		"task id not UTF-8":      {func(in *input) { in.result.TaskID = "\xff" }, []string{"must be UTF-8"}},
		"extra task_id":          {extra("task_id", "x"), []string{`the member "task_id"`}},
		"extra error":            {extra("error", "x"), []string{`the member "error"`}},
		"extra percentage":       {extra("percentage", "x"), []string{`the member "percentage"`}},
		"extra that is not JSON": {extra("x", math.NaN()), []string{"Extra: json: unsupported value"}},
		"too large": {extra("x", strings.Repeat("x", task.MaxPayload)), []string{
			"the payload has 262262 bytes, but at most 262144"}},

		"secret name": {func(in *input) { in.target.SecretName = "A_b" }, []string{"cannot be a Secret's name"}},
		"secret key odd": {func(in *input) { in.target.SecretName, in.target.SecretKey = "s", "a/b" },
			[]string{"a Secret's key"}},
		"key alone": {func(in *input) { in.target.SecretKey = "k" }, []string{"but no Secret"}},
		"all at once": {func(in *input) { *in = input{owner: owner("", "")} }, []string{"a version and a kind",
			"must be stored first", "Status", "the URL must be"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, r, target := good()
			in := input{o, imagine, r, target}
			tc.change(&in)
			got, err := task.Delivery(in.owner, in.kind, in.result, in.target)
			if (got == nil) != (err != nil) || (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("got %v, %v, want %q", got, err, tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing from %v", want, err)
				}
			}
		})
	}
}

func TestPasswordsStayOutOfErrors(t *testing.T) {
	o, r, target := good()
	target.URL = "https://user:hunter2@receiver.example/"
	if _, err := task.Delivery(o, imagine, r, target); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, tc := range map[string]struct{ of, want string }{
		"as it is":         {"a-castle", "a-castle-0bfe935e70"},
		"dots":             {"a.castle.of", "a-castle-of-0bfe935e70"},
		"upper case":       {"A_Castle", "a-castle-0bfe935e70"},
		"cut off":          {strings.Repeat("x", 253), strings.Repeat("x", 52) + "-0bfe935e70"},
		"cut off at a dot": {strings.Repeat("x", 51) + ".y", strings.Repeat("x", 51) + "-0bfe935e70"},
		"signs only":       {"::", "task-0bfe935e70"},
		"not ASCII":        {strings.Repeat("世", 30), "task-0bfe935e70"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := task.Name(owner(tc.of, "u")); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
	if task.Name(owner("a", "u")) == task.Name(owner("a", "v")) {
		t.Error("two tasks of one name have the same delivery")
	}
}

// TestProperties holds for every input: a name that is a DNS label, and the same object each time, which fits.
func TestProperties(t *testing.T) {
	anyJSON := rapid.Deferred(func() *rapid.Generator[any] {
		return rapid.OneOf(rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny(),
			rapid.Bool().AsAny(), rapid.SliceOfN(rapid.String(), 0, 3).AsAny(),
			rapid.MapOfN(rapid.String(), rapid.Int64(), 0, 4).AsAny())
	})
	rapid.Check(t, func(t *rapid.T) {
		o := owner(rapid.StringN(1, 300, -1).Draw(t, "name"), rapid.StringN(1, 40, -1).Draw(t, "uid"))
		_, r, target := good()
		r.TaskID = "t-1"
		r.Extra = rapid.MapOfN(rapid.StringMatching("x.*"), anyJSON, 0, 6).Draw(t, "extra")
		first, err := task.Delivery(o, imagine, r, target)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := validation.IsDNS1123Label(first.Name); len(wrong) > 0 {
			t.Errorf("name %q: %v", first.Name, wrong)
		}
		raw := first.Spec.Payload.Raw
		if !json.Valid(raw) || !utf8.Valid(raw) || len(raw) > task.MaxPayload || first.Spec.Payload.TaskID != "t-1" {
			t.Errorf("payload %q of task %q", raw, first.Spec.Payload.TaskID)
		}
		var stored map[string]any
		if err := utiljson.Unmarshal(raw, &stored); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(stored); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("an API server makes %q of %q (%v)", again, raw, err)
		}
		second, err := task.Delivery(o.DeepCopy(), imagine, r, target)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("the second time (-first +second):\n%s", diff)
		}
	})
}
