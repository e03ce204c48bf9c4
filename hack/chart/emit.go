// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// What a tree of YAML values can hold beside them.
type (
	// template stands for a scalar, and is written as it is.
	template string
	// block is an expression whose value is written as YAML.
	block string
	// guarded is a value of a map or an element of a list that is there on a condition, or repeatedly.
	guarded struct {
		open  string
		value any
	}
)

// emit writes a map or a list as the lines of a template, the first level indented by indent.
func emit(node any, indent int) ([]string, error) {
	var lines []string
	open := "" // the condition of what was written last
	add := func(head string, value any) error {
		g, _ := value.(guarded)
		if g.open != open && open != "" {
			lines = append(lines, "{{- end }}")
		}
		if g.open != open && g.open != "" {
			lines = append(lines, "{{- "+g.open+" }}")
		}
		if open = g.open; open != "" {
			value = g.value
		}
		inner, err := entry(head, value, indent)
		lines = append(lines, inner...)
		return err
	}
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			if err := add(key+":", node[key]); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
	case []any:
		for _, element := range node {
			if err := add("-", element); err != nil {
				return nil, err
			}
		}
	}
	if open != "" {
		lines = append(lines, "{{- end }}")
	}
	return lines, nil
}

// entry writes a key, or the dash of a list, with its value.
func entry(head string, value any, indent int) ([]string, error) {
	margin := strings.Repeat(" ", indent)
	switch value := value.(type) {
	case template:
		return []string{margin + head + " " + string(value)}, nil
	case block:
		return []string{margin + head, fmt.Sprintf("{{- toYaml %s | nindent %d }}", value, indent+2)}, nil
	case map[string]any:
		if len(value) == 0 {
			return []string{margin + head + " {}"}, nil
		}
		lines, err := emit(value, indent+2)
		if head == "-" && err == nil && !strings.HasPrefix(lines[0], "{{") {
			lines[0] = margin + "- " + strings.TrimLeft(lines[0], " ")
			return lines, nil
		}
		return append([]string{margin + head}, lines...), err
	case []any:
		if len(value) == 0 {
			return []string{margin + head + " []"}, nil
		}
		lines, err := emit(value, indent+2)
		return append([]string{margin + head}, lines...), err
	default:
		return scalar(head, value, margin)
	}
}

func scalar(head string, value any, margin string) ([]string, error) {
	text, err := yaml.Marshal(value)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(text), "{{") {
		return nil, errors.New("the text holds {{, which Helm would take for its own")
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	lines[0] = margin + head + " " + lines[0]
	for i := range lines[1:] {
		if lines[i+1] != "" {
			lines[i+1] = margin + lines[i+1]
		}
	}
	return lines, nil
}
