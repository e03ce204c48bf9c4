// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// fields is a JSON object of the members given, with those that every finished Job of these tests has.
func fields(members string) string {
	return `{"completed_at":"2026-01-02T03:14:05Z",` + members + `}`
}

func TestPayload(t *testing.T) {
	const started, common = `"started_at":"2026-01-02T03:04:05Z"`, `"task_id":"` + uid + `","task_type":"job"`
	const done = `"percentage":"100",` + started + `,"status":"finished",`
	failed := func(text string) string {
		return fields(fmt.Sprintf(`"error":%q,%s,"status":"failed",%s`, text, started, common))
	}
	for name, test := range map[string]struct {
		job  *jobBuilder
		want string // empty: not finished
	}{
		"not started":           {makeJob("a"), ""},
		"running":               {makeJob("a").started(), ""},
		"about to be complete":  {makeJob("a").started().condition(batchv1.JobSuccessCriteriaMet, "", ""), ""},
		"about to be failed":    {makeJob("a").started().condition(batchv1.JobFailureTarget, "", ""), ""},
		"suspended":             {makeJob("a").condition(batchv1.JobSuspended, "JobSuspended", "Job suspended"), ""},
		"complete":              {makeJob("a").complete(), fields(done + common)},
		"complete, not started": {makeJob("a").complete().with(func(j *batchv1.Job) { j.Status.StartTime = nil }), fields(`"percentage":"100","status":"finished",` + common)},
		"resumed and complete": {makeJob("a").complete().with(func(j *batchv1.Job) {
			j.Status.Conditions = append([]batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse}}, j.Status.Conditions...)
		}), fields(done + common)},
		"not failed any more": {makeJob("a").started().with(func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionFalse}}
		}), ""},
		"failed": {makeJob("a").failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
			failed("BackoffLimitExceeded: Job has reached the specified backoff limit")},
		"failed without a message": {makeJob("a").failed("DeadlineExceeded", ""), failed("DeadlineExceeded")},
		"failed without a reason":  {makeJob("a").failed("", "no luck"), failed("no luck")},
		"failed without a word":    {makeJob("a").failed("", ""), failed("the Job failed")},
		"failed with many words": {makeJob("a").failed("", strings.Repeat("ü", maxError)),
			failed(strings.Repeat("ü", maxError/2-2) + "…")},
		"ids": {makeJob("a").annotated(AnnotationTaskID, "t-1").annotated(AnnotationTaskType, "imagine").complete(),
			fields(done + `"task_id":"t-1","task_type":"imagine"`)},
		"the longest id": {makeJob("a").annotated(AnnotationTaskID, strings.Repeat("ü", 253)).complete(),
			fields(done + `"task_id":"` + strings.Repeat("ü", 253) + `","task_type":"job"`)},
		"result": {makeJob("a").annotated(AnnotationResult, `{"image_urls": ["https://cdn.example/0"], "n": 12345678901234567890.10}`).complete(),
			`{"completed_at":"2026-01-02T03:14:05Z","image_urls":["https://cdn.example/0"],"n":12345678901234567890.10,` + done + common + `}`},
		"empty result": {makeJob("a").annotated(AnnotationResult, `{}`).complete(), fields(done + common)},
		"a result cannot change what the Job says": {makeJob("a").annotated(AnnotationResult,
			`{"task_id":"x","task_type":"x","status":"x","percentage":"x","error":"x","started_at":"x","completed_at":"x"}`).complete(),
			fields(done + common)},
		"nor of a failed one": {makeJob("a").annotated(AnnotationResult,
			`{"status":"finished","percentage":"100","error":""}`).failed("", "no luck"), failed("no luck")},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := delivery(test.job.obj())
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if d != nil {
				got = string(d.Spec.Payload.Raw)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDelivery(t *testing.T) {
	job := makeJob("render").annotated(AnnotationSecretName, "hook").annotated(AnnotationSecretKey, "token").complete().obj()
	got, err := delivery(job)
	if err != nil {
		t.Fatal(err)
	}
	want := &v1alpha1.WebhookDelivery{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "tasks", Name: "render-" + uid,
			Labels: map[string]string{LabelJobName: "render", LabelJobUID: uid},
		},
		Spec: v1alpha1.WebhookDeliverySpec{
			URL:       "https://receiver.example/webhook",
			SecretRef: &v1alpha1.SecretKeyReference{Name: "hook", Key: "token"},
			Payload:   payload.Payload{TaskID: uid, Raw: got.Spec.Payload.Raw},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := delivery(job)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same Job gives another delivery (-first +second):\n%s", diff)
	}
}

func TestNamesAndLabels(t *testing.T) {
	for name, test := range map[string]struct {
		job, uid    string
		want, label string
	}{
		"short":              {"a", uid, "a-" + uid, "a"},
		"as long as fits":    {strings.Repeat("a", 26), uid, strings.Repeat("a", 26) + "-" + uid, strings.Repeat("a", 26)},
		"longer":             {strings.Repeat("a", 27), uid, strings.Repeat("a", 26) + "-" + uid, strings.Repeat("a", 27)},
		"cut at a dash":      {strings.Repeat("a", 25) + "-b", uid, strings.Repeat("a", 25) + "-" + uid, strings.Repeat("a", 25) + "-b"},
		"cut at a dot":       {strings.Repeat("a", 24) + ".-b", uid, strings.Repeat("a", 24) + "-" + uid, strings.Repeat("a", 24) + ".-b"},
		"dots":               {"a.b", uid, "a.b-" + uid, "a.b"},
		"the longest label":  {strings.Repeat("a", 63), uid, strings.Repeat("a", 26) + "-" + uid, strings.Repeat("a", 63)},
		"too long a label":   {strings.Repeat("a", 64), uid, strings.Repeat("a", 26) + "-" + uid, ""},
		"the longest name":   {strings.Repeat("a", 253), uid, strings.Repeat("a", 26) + "-" + uid, ""},
		"a long UID":         {"a", strings.Repeat("u", 62), strings.Repeat("u", 62), "a"},
		"another UID's name": {"a", "u", "a-u", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := delivery(makeJob(test.job).with(func(j *batchv1.Job) { j.UID = types.UID(test.uid) }).complete().obj())
			if err != nil {
				t.Fatal(err)
			}
			if d.Name != test.want || d.Labels[LabelJobName] != test.label {
				t.Errorf("got %s labelled %s, want %s labelled %s", d.Name, d.Labels[LabelJobName], test.want, test.label)
			}
			if problems := validation.IsDNS1123Subdomain(d.Name); len(d.Name) > 63 || len(problems) > 0 {
				t.Errorf("%s is no name: %d characters, %v", d.Name, len(d.Name), problems)
			}
		})
	}
}

func TestBadAnnotations(t *testing.T) {
	const badURL = "annotation webhookdelivery.dev/url: must be an absolute https URL"
	without := func(j *batchv1.Job) { delete(j.Annotations, AnnotationURL) }
	for name, test := range map[string]struct {
		job  *jobBuilder
		want string
	}{
		"no annotations":       {makeJob("a").with(func(j *batchv1.Job) { j.Annotations = nil }), "annotation webhookdelivery.dev/url: is missing"},
		"no URL":               {makeJob("a").with(without), "annotation webhookdelivery.dev/url: is missing"},
		"empty URL":            {makeJob("a").annotated(AnnotationURL, ""), "annotation webhookdelivery.dev/url is empty"},
		"a path":               {makeJob("a").annotated(AnnotationURL, "/webhook"), badURL},
		"a host":               {makeJob("a").annotated(AnnotationURL, "receiver.example"), badURL},
		"no host":              {makeJob("a").annotated(AnnotationURL, "https:///webhook"), badURL},
		"another scheme":       {makeJob("a").annotated(AnnotationURL, "ftp://receiver.example"), badURL},
		"a URL that is none":   {makeJob("a").annotated(AnnotationURL, "https://%zz"), badURL},
		"empty secret name":    {makeJob("a").annotated(AnnotationSecretName, ""), "annotation webhookdelivery.dev/secret-name is empty"},
		"empty secret key":     {makeJob("a").annotated(AnnotationSecretKey, ""), "annotation webhookdelivery.dev/secret-key is empty"},
		"key without name":     {makeJob("a").annotated(AnnotationSecretKey, "k"), "annotation webhookdelivery.dev/secret-key needs webhookdelivery.dev/secret-name"},
		"empty task id":        {makeJob("a").annotated(AnnotationTaskID, ""), "annotation webhookdelivery.dev/task-id is empty"},
		"too long a task id":   {makeJob("a").annotated(AnnotationTaskID, strings.Repeat("ü", 254)), "annotation webhookdelivery.dev/task-id is longer than 253 characters"},
		"empty task type":      {makeJob("a").annotated(AnnotationTaskType, ""), "annotation webhookdelivery.dev/task-type is empty"},
		"empty result":         {makeJob("a").annotated(AnnotationResult, ""), "annotation webhookdelivery.dev/result is empty"},
		"a list as the result": {makeJob("a").annotated(AnnotationResult, `[1]`), "annotation webhookdelivery.dev/result: must be a JSON object, not array"},
		"null as the result":   {makeJob("a").annotated(AnnotationResult, `null`), "annotation webhookdelivery.dev/result: must be a JSON object, not null"},
		"half a result":        {makeJob("a").annotated(AnnotationResult, `{"a":`), "annotation webhookdelivery.dev/result: must be a JSON object: unexpected end"},
		"two results":          {makeJob("a").annotated(AnnotationResult, `{}{}`), "annotation webhookdelivery.dev/result: must be a JSON object: invalid character"},
		"a deep result":        {makeJob("a").annotated(AnnotationResult, strings.Repeat(`{"a":`, 100_000)), "annotation webhookdelivery.dev/result: must be a JSON object: "},
	} {
		for state, job := range map[string]*batchv1.Job{"running": test.job.obj(), "finished": test.job.complete().obj()} {
			t.Run(name+", "+state, func(t *testing.T) {
				d, err := delivery(job)
				if err == nil || !strings.HasPrefix(err.Error(), test.want) {
					t.Errorf("got %v and error %q, want %q", d, err, test.want)
				}
			})
		}
	}
}

// Whatever the annotations are, the answer is a delivery that tells the truth, or an error.
func TestAnyAnnotations(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\xff", "https://receiver.example", strings.Repeat("a", 300)}))
	value := rapid.OneOf(rapid.SampledFrom([]string{"1", "null", `{"status":"finished"}`, `"\ud800"`, "[]", "{", "1e999"}), text)
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.MapOf(rapid.OneOf(text, rapid.SampledFrom([]string{"status", "error", "Task_ID", "a"})), value)
		var result strings.Builder
		for name, value := range members.Draw(t, "result") {
			fmt.Fprintf(&result, "%c%q:%s", "{,"[min(result.Len(), 1)], name, value)
		}
		job := makeJob("a").annotated(AnnotationURL, text.Draw(t, "URL")).annotated(AnnotationTaskID, text.Draw(t, "id")).
			annotated(AnnotationTaskType, text.Draw(t, "type")).annotated(AnnotationResult, result.String()+"}").
			failed(text.Draw(t, "reason"), text.Draw(t, "message")).obj()
		d, err := delivery(job)
		if (d == nil) == (err == nil) {
			t.Errorf("got %v and %v", d, err)
		}
		if d != nil && !strings.Contains(string(d.Spec.Payload.Raw), `"status":"failed"`) {
			t.Errorf("the payload is %s", d.Spec.Payload.Raw)
		}
	})
}
