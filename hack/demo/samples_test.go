// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/jobs"
)

// The demo expects exactly the deliveries that config/samples has, and sends all of them to its own receiver.
func TestSamples(t *testing.T) {
	const url = "https://127.0.0.1:4711"
	s, err := readSamples(filepath.Join("..", "..", "config", "samples"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.write(dir, url); err != nil {
		t.Fatal(err)
	}
	written, err := readSamples(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s[lateSecret]; !ok {
		t.Errorf("there is no sample %s", lateSecret)
	}
	if _, ok := written[lateSecret]; ok || len(written) != len(s)-1 {
		t.Errorf("of %d samples %d were written, %s: %v", len(s), len(written), lateSecret, ok)
	}

	var got, want []string
	for name, text := range written {
		var d v1alpha1.WebhookDelivery
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		to := d.Spec.URL
		switch d.Kind {
		case "WebhookDelivery":
		case "Job":
			to = d.Annotations[jobs.AnnotationURL]
		default:
			continue
		}
		got = append(got, d.Name)
		if !strings.HasPrefix(to, url+"/") {
			t.Errorf("%s goes to %s", name, to)
		}
	}
	for _, x := range expectations {
		want = append(want, x.name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deliveries (-expected +in the samples):\n%s", diff)
	}
}

func TestSecrets(t *testing.T) {
	s := samples{
		"secret.yaml": "kind: Secret\nstringData: {webhook-secret: a}\n",
		"other.yaml":  "kind: ConfigMap\nstringData: {webhook-secret: b}\n",
	}
	got, err := s.secrets()
	if diff := cmp.Diff([]string{"a"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNoSamples(t *testing.T) {
	dir := t.TempDir()
	if _, err := readSamples(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "x.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readSamples(dir); err == nil {
		t.Error("a sample that cannot be read was passed over")
	}
}
