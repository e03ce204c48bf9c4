// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/jobs"
)

// makeJob returns a Job that asks for a delivery to the given path of the receiver.
func makeJob(name, path string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{jobs.LabelNotify: "true"},
			Annotations: map[string]string{
				jobs.AnnotationURL: inbox.URL() + path, jobs.AnnotationSecretName: "webhook-secret",
				jobs.AnnotationTaskType: "imagine",
			},
		},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "main", Image: "busybox"}},
		}}},
	}
}

// The steps of a Job as the Job controller, which a bare control plane lacks, writes them. NOW stands for the time.
var (
	succeeds = []string{
		`{"startTime":"NOW","active":1,"uncountedTerminatedPods":{}}`,
		`{"active":0,"terminating":0,"uncountedTerminatedPods":{"succeeded":["pod"]},
		  "conditions":[{"type":"SuccessCriteriaMet","status":"True","reason":"CompletionsReached"}]}`,
		`{"succeeded":1,"completionTime":"NOW","uncountedTerminatedPods":{"succeeded":null},
		  "conditions":[{"type":"SuccessCriteriaMet","status":"True","reason":"CompletionsReached"},
		                {"type":"Complete","status":"True","reason":"CompletionsReached"}]}`,
	}
	fails = []string{
		`{"startTime":"NOW","active":1,"uncountedTerminatedPods":{}}`,
		`{"active":0,"terminating":0,"conditions":[{"type":"FailureTarget","status":"True","reason":"BackoffLimitExceeded"}]}`,
		`{"failed":1,"conditions":[{"type":"FailureTarget","status":"True","reason":"BackoffLimitExceeded"},
		                           {"type":"Failed","status":"True","reason":"BackoffLimitExceeded","message":"too often"}]}`,
	}
)

func runJob(t *testing.T, job *batchv1.Job, steps []string) {
	t.Helper()
	create(t, job)
	for _, step := range steps {
		now, err := json.Marshal(metav1.Now())
		if err != nil {
			t.Fatal(err)
		}
		patch := fmt.Sprintf(`{"status":%s}`, strings.ReplaceAll(step, `"NOW"`, string(now)))
		if err := cluster.Status().Patch(t.Context(), job, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
}

// deliveryOf returns the only delivery of job, once there is one and it has ended.
func deliveryOf(t *testing.T, job *batchv1.Job) *v1alpha1.WebhookDelivery {
	t.Helper()
	var found v1alpha1.WebhookDeliveryList
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) {
			err := cluster.List(ctx, &found, client.InNamespace(namespace),
				client.MatchingLabels{jobs.LabelJobUID: string(job.UID)})
			return len(found.Items) > 0, err
		})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%d deliveries of the Job: %v", len(found.Items), err)
	}
	return waitFor(t, found.Items[0].Name, finished)
}

// TestTaskRoundTrip is the way of a task from its end to a delivered result, and back.
func TestTaskRoundTrip(t *testing.T) {
	t.Parallel()
	good := makeJob("round-good", "/ok")
	runJob(t, good, succeeds)
	if d := deliveryOf(t, good); !d.IsDelivered() || d.Spec.Payload.TaskID != string(good.UID) {
		t.Errorf("the finished Job's delivery: %+v", d)
	}

	bad := makeJob("round-bad", "/fail-first/4") // down for a whole round of attempts
	runJob(t, bad, fails)
	d := deliveryOf(t, bad)
	var body struct{ Status, Error string }
	if err := json.Unmarshal(d.Spec.Payload.Raw, &body); err != nil || body.Status != "failed" || body.Error == "" {
		t.Errorf("payload of the failed Job: %s", d.Spec.Payload.Raw)
	}
	if !d.IsUndeliverable() {
		t.Fatalf("phase %s, want Undeliverable while the receiver is down", d.Status.Phase)
	}

	fetched := fetch(t, d.Spec.Payload.TaskID, secret, http.StatusOK)
	if fetched != string(d.Spec.Payload.Raw) {
		t.Errorf("fetched %s, want the payload", fetched)
	}
	fetch(t, d.Spec.Payload.TaskID, "wrong", http.StatusNotFound)

	kubectl(t, "label", "whd", d.Name, v1alpha1.LabelRedeliver+"=true")
	waitFor(t, d.Name, func(d *v1alpha1.WebhookDelivery) bool { return d.IsDelivered() && d.Status.Redeliveries == 1 })
}

// fetch asks for a task's result as its receiver does and returns the body of the answer, which must have that code.
func fetch(t *testing.T, task, secret string, code int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		fetchURL+"?namespace="+namespace+"&task_id="+task, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-webhook-secret", secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != code {
		t.Errorf("/fetch answered %s, %v; want %d", resp.Status, err, code)
	}
	return string(body)
}
