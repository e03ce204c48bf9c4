// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	samplesDir  = "config/samples"
	lateSecret  = "late-secret.yaml"
	placeholder = "https://receiver.demo.example:8443"
)

// expected is what the receiver answers to each attempt of each sample.
var expected = map[string][]int{
	"finished-task":       {200},
	"failed-task":         {200},
	"recovering-receiver": {503, 200},
	"broken-receiver":     {503, 503, 503, 503},
	"waiting-for-secret":  {200},
}

// applySamples applies the samples, the late Secret once a delivery waits for it.
func applySamples(ctx context.Context, s *stage) (t tally, note string, err error) {
	files, err := filepath.Glob(filepath.Join(samplesDir, "*.yaml"))
	if err != nil {
		return t, "", err
	}
	var manifests []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return t, "", err
		}
		if filepath.Base(file) != lateSecret {
			manifests = append(manifests, strings.ReplaceAll(string(text), placeholder, receiverURL))
		}
	}
	apply := []string{"apply", "--server-side", "-n", namespace, "-f"}
	if _, err := s.run(ctx, strings.Join(manifests, "\n---\n"), append(apply, "-")...); err != nil {
		return t, "", err
	}
	if err := s.waits(ctx, "waiting-for-secret", v1alpha1.ReasonSecretNotFound); err != nil {
		return t, "", err
	}
	err = s.do(ctx, append(apply, filepath.Join(samplesDir, lateSecret))...)
	return t, "", err
}

// waits waits until a delivery says that it waits, and for what.
func (s *stage) waits(ctx context.Context, name string, reason v1alpha1.Reason) error {
	return eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		d := &v1alpha1.WebhookDelivery{}
		if err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDelivered)
		if condition == nil || condition.Reason != string(reason) {
			return fmt.Errorf("%s does not wait for %s: %+v", name, reason, condition)
		}
		return nil
	})
}

// checkSamples holds what the receiver answered against what each sample is for.
func checkSamples(ctx context.Context, s *stage) (t tally, note string, err error) {
	var stored []v1alpha1.WebhookDelivery
	for name := range expected {
		d := v1alpha1.WebhookDelivery{}
		err := eventually(ctx, 150*time.Second, func(ctx context.Context) error {
			err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d)
			if err == nil && !d.IsFinished() {
				err = fmt.Errorf("%s is %s", name, d.Status.Phase)
			}
			return err
		})
		if err != nil {
			return t, "", err
		}
		stored = append(stored, d)
	}
	seen, err := s.account(ctx)
	if err != nil {
		return t, "", err
	}
	var wrong []error
	for i := range stored {
		if got, want := answers(seen[string(stored[i].UID)]), expected[stored[i].Name]; !slices.Equal(got, want) {
			wrong = append(wrong, fmt.Errorf("%s was answered %v, want %v", stored[i].Name, got, want))
		}
	}
	totals, err := s.snapshot(ctx)
	if err == nil && totals.Repeats != 0 {
		err = fmt.Errorf("%d requests of all so far were repeated after they had been accepted", totals.Repeats)
	}
	note = fmt.Sprintf("of %d requests so far none repeated", totals.Requests)
	return count(len(expected), stored, seen), note, errors.Join(append(wrong, err)...)
}

func answers(requests []receiver.Record) (codes []int) {
	for _, r := range requests {
		codes = append(codes, r.Status)
	}
	return codes
}

// runJobs has the Job controller and the kubelet run two Jobs, and finds their outcome at the receiver.
func runJobs(ctx context.Context, s *stage) (t tally, note string, err error) {
	if err := s.apply(ctx, "jobs.yaml"); err != nil {
		return t, "", err
	}
	want := map[string]string{"finishes": "finished", "fails": "failed"}
	var list v1alpha1.WebhookDeliveryList
	err = eventually(ctx, time.Minute, func(ctx context.Context) error {
		err := s.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{"webhookdelivery.dev/job-name"})
		delivered := 0
		for i := range list.Items {
			if list.Items[i].IsDelivered() {
				delivered++
			}
		}
		if err == nil && delivered != len(want) {
			err = fmt.Errorf("%d deliveries of Jobs, %d of them delivered", len(list.Items), delivered)
		}
		return err
	})
	if err != nil {
		return t, "", err
	}
	var wrong []error
	for i := range list.Items {
		d := &list.Items[i]
		var result struct{ Status string }
		if err := json.Unmarshal(d.Spec.Payload.Raw, &result); err != nil {
			return t, "", err
		}
		if job := d.Labels["webhookdelivery.dev/job-name"]; result.Status != want[job] {
			wrong = append(wrong, fmt.Errorf("the Job %s was announced as %s", job, result.Status))
		}
	}
	seen, err := s.account(ctx)
	return count(len(want), list.Items, seen), "", errors.Join(append(wrong, err)...)
}

// suspend creates a suspended delivery, and then another: when that has arrived, the first had its chance.
func suspend(ctx context.Context, s *stage) (t tally, note string, err error) {
	l := load{step: "suspend", n: 2, path: "/ok"}
	held, err := l.delivery(0)
	if err != nil {
		return t, "", err
	}
	held.Spec.Suspend = true
	next, err := l.delivery(1)
	if err != nil {
		return t, "", err
	}
	if err := errors.Join(s.Create(ctx, held), s.Create(ctx, next)); err != nil {
		return t, "", err
	}
	err = s.do(ctx, "wait", "--for=condition=Delivered", "-n", namespace, "whd/"+next.Name, "--timeout=20s")
	if err != nil {
		return t, "", err
	}
	if err := s.waits(ctx, held.Name, v1alpha1.ReasonSuspended); err != nil {
		return t, "", err
	}
	seen, err := s.account(ctx)
	if err != nil {
		return t, "", err
	}
	if n := len(seen[string(held.UID)]); n != 0 {
		return t, "", fmt.Errorf("%d requests of a suspended delivery", n)
	}
	err = s.do(ctx, "patch", "whd", held.Name, "-n", namespace, "--type=merge", "-p", `{"spec":{"suspend":false}}`)
	if err != nil {
		return t, "", err
	}
	t, err = s.settle(ctx, l, 20*time.Second)
	return t, "none before it was resumed", err
}

// denied delivers to the API server, which is reachable and nobody has opened.
func denied(ctx context.Context, s *stage) (t tally, note string, err error) {
	l := load{step: "guard", n: 1}
	d, err := l.delivery(0)
	if err != nil {
		return t, "", err
	}
	d.Spec.URL = "https://kubernetes.default.svc/webhook"
	if err := s.Create(ctx, d); err != nil {
		return t, "", err
	}
	t, err = s.settle(ctx, l, 20*time.Second)
	if err != nil {
		return t, "", err
	}
	if err := s.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
		return t, "", err
	}
	condition := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionUndeliverable)
	if condition == nil || condition.Reason != string(v1alpha1.ReasonAddressDenied) || len(d.Status.Attempts) != 0 {
		return t, "", fmt.Errorf("it is %+v", d.Status)
	}
	return t, condition.Reason, nil
}
