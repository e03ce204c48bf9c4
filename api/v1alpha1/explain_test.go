// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// schema is what kubectl explain shows of a field.
type schema struct {
	Description string             `json:"description"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
}

// TestEveryFieldIsExplained walks what kubectl explain --recursive walks. metadata is explained by Kubernetes.
func TestEveryFieldIsExplained(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "webhookdelivery.dev_webhookdeliveries.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					Root *schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &crd); err != nil || len(crd.Spec.Versions) != 1 {
		t.Fatalf("%d versions: %v", len(crd.Spec.Versions), err)
	}
	var fields []string
	var walk func(path string, s *schema)
	walk = func(path string, s *schema) {
		fields = append(fields, path)
		if s.Description == "" && path != "object.metadata" {
			t.Errorf("%s has no description", path)
		}
		for s.Items != nil {
			s = s.Items
		}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			walk(path+"."+name, s.Properties[name])
		}
	}
	walk("object", crd.Spec.Versions[0].Schema.Root)
	for _, deep := range []string{"object.status.attempts.reason", "object.spec.payload.task_id"} {
		if !slices.Contains(fields, deep) {
			t.Errorf("the walk did not come to %s, but to:\n%s", deep, strings.Join(fields, "\n"))
		}
	}
}
