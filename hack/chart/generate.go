// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// namespace is the operator's in the manifests, and the release's in the chart.
const namespace = "webhook-delivery-system"

// feature is a component of config, and how the chart's values ask for it.
type feature struct {
	component string
	condition string
	// each, if set, is the list for each of whose items the component's objects are made. In the manifests the only item
	// is called sample.
	each, sample string
	// texts are strings of the component that follow values.
	texts map[string]template
}

var features = []feature{
	{component: "allow-http", condition: "$.Values.allowHTTP"},
	{component: "fetch", condition: "$.Values.fetch.enabled", texts: map[string]template{
		"webhook-delivery-fetch-tls": "{{ $.Values.fetch.secretName | quote }}",
	}},
	{component: "jobs", condition: "$.Values.jobs.enabled"},
	{
		component: "namespaced", condition: "$.Values.namespaces", each: "$.Values.namespaces", sample: "tasks",
		texts: map[string]template{"--namespaces=tasks": `--namespaces={{ join "," $.Values.namespaces }}`},
	},
	{component: "without-policy", condition: "not $.Values.policy.enabled"},
}

// object is one object of the manifests, with the conditions on which the chart has it.
type object struct {
	body  map[string]any
	opens []string
}

// generate returns the templates by file name.
func generate(o options) (map[string]string, error) {
	base, err := build(o)
	if err != nil {
		return nil, err
	}
	chart := map[string]*object{}
	for name, body := range base {
		chart[name] = &object{body: body}
	}
	// The namespace is the one that the release is installed into.
	delete(chart, "namespace-"+namespace)
	for _, f := range features {
		with, err := build(o, f.component)
		if err != nil {
			return nil, err
		}
		if err := add(chart, base, with, f); err != nil {
			return nil, fmt.Errorf("component %s: %w", f.component, err)
		}
	}
	if err := settle(chart); err != nil {
		return nil, err
	}
	templates := map[string]string{}
	for name, o := range chart {
		text, err := o.text()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		templates[name+".yaml"] = text
	}
	return templates, nil
}

// add makes the difference between two builds a condition of the chart.
func add(chart map[string]*object, base, with map[string]map[string]any, f feature) error {
	delete(with, "namespace-"+namespace)
	for _, name := range slices.Sorted(maps.Keys(with)) {
		if _, found := base[name]; found {
			if err := merge(chart[name].body, with[name], f); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		open := "if " + f.condition
		if f.each != "" {
			open = "range $item := " + f.each
		}
		if _, found := chart[name]; found {
			return fmt.Errorf("%s: another component has it, too", name)
		}
		chart[name] = &object{body: with[name], opens: []string{open}}
		rewrite(with[name], func(text string) any {
			if f.each != "" && text == f.sample {
				return template("{{ $item | quote }}")
			}
			return f.text(text)
		})
	}
	for name := range chart {
		_, before := base[name]
		if _, after := with[name]; before && !after {
			chart[name].opens = append(chart[name].opens, "if "+negated(f.condition))
		}
	}
	return nil
}

func negated(condition string) string {
	if positive, found := strings.CutPrefix(condition, "not "); found {
		return positive
	}
	return "not " + condition
}

// text returns what stands for a string of the component.
func (f feature) text(text string) any {
	if to, found := f.texts[text]; found {
		return to
	}
	return text
}

// merge adds to into what from has beyond it, as conditions. It refuses what takes away or changes.
func merge(to, from map[string]any, f feature) error {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		have, found := to[key]
		if !found {
			to[key] = guarded{"if " + f.condition, rewrite(from[key], f.text)}
			continue
		}
		merged, err := mergeValue(have, from[key], f)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		to[key] = merged
	}
	for key, value := range to {
		if _, kept := from[key]; !kept && !isGuarded(value) {
			return fmt.Errorf("%s: a component cannot take it away", key)
		}
	}
	return nil
}

func mergeValue(to, from any, f feature) (any, error) {
	switch to := to.(type) {
	case map[string]any:
		if from, ok := from.(map[string]any); ok {
			return to, merge(to, from, f)
		}
	case []any:
		if from, ok := from.([]any); ok {
			return mergeList(to, from, f)
		}
	default:
		if to == from {
			return to, nil
		}
	}
	return nil, fmt.Errorf("a component cannot change %v into %v", to, from)
}

// mergeList adds the elements of from that follow those that both have.
func mergeList(to, from []any, f feature) (any, error) {
	common := 0
	for i, element := range to {
		if isGuarded(element) {
			continue
		}
		if common == len(from) {
			return nil, fmt.Errorf("%v: a component cannot take it away", element)
		}
		merged, err := mergeValue(element, from[common], f)
		if err != nil {
			return nil, err
		}
		to[i] = merged
		common++
	}
	for _, element := range from[common:] {
		to = append(to, guarded{"if " + f.condition, rewrite(element, f.text)})
	}
	return to, nil
}

// rewrite replaces the strings in a value, and returns the value.
func rewrite(value any, replace func(string) any) any {
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			value[key] = rewrite(value[key], replace)
		}
	case []any:
		for i := range value {
			value[i] = rewrite(value[i], replace)
		}
	case guarded:
		return guarded{value.open, rewrite(value.value, replace)}
	case string:
		return replace(value)
	}
	return value
}

// released replaces the operator's namespace by the release's.
func released(text string) any {
	if text == namespace {
		return template("{{ $.Release.Namespace | quote }}")
	}
	return text
}

func isGuarded(value any) bool {
	_, is := value.(guarded)
	return is
}

func (o *object) text() (string, error) {
	rewrite(o.body, released)
	var lines []string
	for _, open := range o.opens {
		lines = append(lines, "{{- "+open+" }}")
	}
	if strings.HasPrefix(strings.Join(o.opens, ""), "range") {
		lines = append(lines, "---")
	}
	body, err := emit(o.body, 0)
	if err != nil {
		return "", err
	}
	lines = append(lines, body...)
	for range o.opens {
		lines = append(lines, "{{- end }}")
	}
	return strings.Join(lines, "\n") + "\n", nil
}
