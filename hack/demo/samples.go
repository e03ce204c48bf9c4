// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	// namespace is where the samples are applied.
	namespace = "tasks"
	// placeholder is the receiver in the samples.
	placeholder = "https://receiver.demo.example:8443"
	// lateSecret is the sample that is applied after the others, while a delivery waits for it.
	lateSecret      = "late-secret.yaml"
	lateSecretAfter = 20 * time.Second
	// finishedJob is the Job among the samples.
	finishedJob = "finished-job"
)

// samples are manifests by the names of their files.
type samples map[string]string

// readSamples reads the manifests in dir. It is an error if there are none.
func readSamples(dir string) (samples, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, errors.Join(err, fmt.Errorf("there are no samples in %s", dir))
	}
	s := samples{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s[filepath.Base(path)] = string(text)
	}
	return s, nil
}

// write writes all but the late Secret to dir, with url in place of the placeholder.
func (s samples) write(dir, url string) error {
	for name, text := range s {
		if name == lateSecret {
			continue
		}
		text = strings.ReplaceAll(text, placeholder, url)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// secrets returns all values of all Secrets among the samples.
func (s samples) secrets() ([]string, error) {
	var values []string
	for name, text := range s {
		var secret corev1.Secret
		if err := yaml.Unmarshal([]byte(text), &secret); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if secret.Kind != "Secret" {
			continue
		}
		for _, value := range secret.StringData {
			values = append(values, value)
		}
	}
	return values, nil
}
