// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// build returns the objects of config/default with the given components, by kind and name.
func build(o options, components ...string) (map[string]map[string]any, error) {
	manifests, err := kustomize(o, components)
	if err != nil {
		return nil, err
	}
	return parse(manifests)
}

// parse returns the objects of a stream of manifests, by kind and name.
func parse(manifests []byte) (map[string]map[string]any, error) {
	objects := map[string]map[string]any{}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading manifests: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		name := strings.ToLower(object.GetKind()) + "-" + object.GetName()
		if _, found := objects[name]; found {
			return nil, fmt.Errorf("two objects are %s", name)
		}
		objects[name] = object.Object
	}
}

func kustomize(o options, components []string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is scratch
	// kustomize resolves the directory's own symbolic links, and takes relative paths only.
	own, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	config, err := filepath.Abs(o.config)
	if err != nil {
		return nil, err
	}
	if config, err = filepath.Rel(own, config); err != nil {
		return nil, err
	}
	text := "resources:\n- " + config + "/default\ncomponents:\n"
	for _, component := range components {
		text += "- " + config + "/components/" + component + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.Command(o.kustomize, "build", dir) //nolint:noctx // it ends by itself
	cmd.Stderr = &stderr
	manifests, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build: %w: %s", err, stderr.String())
	}
	return manifests, nil
}
