// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	deployment = "deployment-webhook-delivery-operator"
	pod        = "spec/template/spec"
	container  = pod + "/containers/0"
	crd        = "customresourcedefinition-webhookdeliveries.webhookdelivery.dev"
)

// setting is a place in the manifests that follows a value of the chart. A place that the manifests lack gets the value
// only if it is not empty.
type setting struct {
	object, path string
	value        any
	absent       bool
}

var settings = []setting{
	{object: deployment, path: "spec/replicas", value: template("{{ $.Values.replicas }}")},
	{object: deployment, path: container + "/image",
		value: template(`"{{ $.Values.image.repository }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}"`)},
	{object: deployment, path: container + "/imagePullPolicy", value: block("$.Values.image.pullPolicy"), absent: true},
	{object: deployment, path: pod + "/terminationGracePeriodSeconds",
		value: template("{{ $.Values.terminationGracePeriodSeconds }}")},
	{object: deployment, path: container + "/resources", value: block("$.Values.resources")},
	{object: deployment, path: container + "/env/0/value", value: template("{{ $.Values.goMemLimit | quote }}")},
	{object: deployment, path: container + "/args/-", value: guarded{"range $arg := $.Values.extraArgs",
		template("{{ $arg | quote }}")}},
	{object: deployment, path: "spec/template/metadata/annotations", value: block("$.Values.podAnnotations"),
		absent: true},
	{object: deployment, path: pod + "/imagePullSecrets", value: block("$.Values.imagePullSecrets"), absent: true},
	{object: deployment, path: pod + "/nodeSelector", value: block("$.Values.nodeSelector"), absent: true},
	{object: deployment, path: pod + "/tolerations", value: block("$.Values.tolerations"), absent: true},
	{object: deployment, path: pod + "/affinity", value: block("$.Values.affinity"), absent: true},
	{object: deployment, path: pod + "/volumes", value: extended("$.Values.extraVolumes")},
	{object: deployment, path: container + "/volumeMounts", value: extended("$.Values.extraVolumeMounts")},
	{object: crd, path: "metadata/annotations", value: guarded{"if $.Values.crds.keep",
		map[string]any{"helm.sh/resource-policy": "keep"}}, absent: true},
}

// conditions are those of whole objects, beside what components say.
var conditions = map[string]string{
	crd: "if $.Values.crds.enabled",
	// It asks for one pod to stay: a single one could never be moved.
	"poddisruptionbudget-webhook-delivery-operator": "if gt (int $.Values.replicas) 1",
}

// extended adds the elements of a value to the list that stands in its place, which a component has brought, and which
// is there for either then.
type extended string

func (values extended) to(node any) (any, error) {
	brought, _ := node.(guarded)
	list, found := brought.value.([]any)
	if !found {
		return nil, errors.New("this is no list that a component brings")
	}
	var elements []any
	for _, element := range list {
		elements = append(elements, guarded{brought.open, element})
	}
	return guarded{
		fmt.Sprintf("if or %s %s", strings.TrimPrefix(brought.open, "if "), values),
		append(elements, guarded{"range $extra := " + string(values), block("$extra")}),
	}, nil
}

// settle puts the values into the chart.
func settle(chart map[string]*object) error {
	for _, s := range settings {
		o, found := chart[s.object]
		if !found {
			return fmt.Errorf("no %s in the manifests", s.object)
		}
		value := s.value
		if list, ok := value.(block); ok && s.absent {
			value = guarded{"if " + string(list), list}
		}
		if _, err := set(o.body, strings.Split(s.path, "/"), value, s.absent); err != nil {
			return fmt.Errorf("%s, %s: %w", s.object, s.path, err)
		}
	}
	for name, open := range conditions {
		o, found := chart[name]
		if !found {
			return fmt.Errorf("no %s in the manifests", name)
		}
		o.opens = append(o.opens, open)
	}
	return nil
}

// set puts a value at a path below a node and returns the node. The last part of the path must be there, or be absent.
func set(node any, path []string, value any, absent bool) (any, error) {
	if len(path) == 0 {
		if list, ok := value.(extended); ok {
			return list.to(node)
		}
		return value, nil
	}
	switch node := node.(type) {
	case map[string]any:
		child, found := node[path[0]]
		if last := len(path) == 1; found == (last && absent) {
			return nil, fmt.Errorf("%s: found is %t", path[0], found)
		}
		child, err := set(child, path[1:], value, absent)
		node[path[0]] = child
		return node, err
	case []any:
		if path[0] == "-" {
			return append(node, value), nil
		}
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(node) {
			return nil, fmt.Errorf("no element %s", path[0])
		}
		node[i], err = set(node[i], path[1:], value, absent)
		return node, err
	default:
		return nil, fmt.Errorf("nothing can be below %v", node)
	}
}
