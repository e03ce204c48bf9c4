// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func TestFlavours(t *testing.T) {
	// How often each is found in the CRD, as text.
	type counts struct{ CEL, MaxLength, Default, Selectable bool }
	want := map[string]counts{
		"no_policies":          {true, true, true, true},
		"no_policies_no_cel":   {false, true, true, true},
		"nothing":              {false, false, true, true},
		"nothing_no_default":   {false, false, false, true},
		"nothing_no_selectors": {false, false, true, false},
	}
	pair, _ := compared(settings{rounds: 1})
	if len(pair) != 2 || pair[0].strip != nil || pair[1].name != reference {
		t.Errorf("compared for the goal: %v", pair)
	}
	groups := map[string]bool{}
	for _, v := range flavours {
		if groups[v.group] {
			t.Errorf("two flavours have the group %s", v.group)
		}
		groups[v.group] = true
		if v.strip == nil {
			if v.group != v1alpha1.GroupVersion.Group {
				t.Errorf("%s is of group %s", v.name, v.group)
			}
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			crd, err := shippedCRD()
			if err != nil {
				t.Fatal(err)
			}
			variant(crd, v.group)
			v.strip(crd)
			body, err := json.Marshal(crd)
			if err != nil {
				t.Fatal(err)
			}
			has := func(keyword string) bool { return strings.Contains(string(body), `"`+keyword+`":`) }
			got := counts{has(celKeyword), has("maxLength"), has("default"), has("selectableFields")}
			if diff := cmp.Diff(want[v.name], got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if name := crd["metadata"].(manifest)["name"]; name != resource+"."+v.group {
				t.Errorf("its name is %s", name)
			}
			if group := crd["spec"].(manifest)["group"]; group != v.group {
				t.Errorf("its group is %s", group)
			}
		})
	}
}

func TestDropFromSchemaKeepsPropertiesOfThatName(t *testing.T) {
	schema := manifest{
		"required": []any{"required"},
		"properties": manifest{
			"required": manifest{"type": "string", "maxLength": 3},
			"list":     manifest{"type": "array", "items": manifest{"type": "integer", "minimum": 1}},
			"map":      manifest{"type": "object", "additionalProperties": manifest{"type": "integer", "minimum": 1}},
		},
	}
	dropFromSchema(schema, "required", "maxLength", "minimum")
	want := manifest{"properties": manifest{
		"required": manifest{"type": "string"},
		"list":     manifest{"type": "array", "items": manifest{"type": "integer"}},
		"map":      manifest{"type": "object", "additionalProperties": manifest{"type": "integer"}},
	}}
	if diff := cmp.Diff(want, schema); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInGroup(t *testing.T) {
	tmpl, err := newTemplate("https://receiver.example/", 500, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		t.Fatal(err)
	}
	if d := decode(t, inGroup(tmpl, "other.bench").object(1)); d.APIVersion != "other.bench/v1alpha1" {
		t.Errorf("apiVersion %s", d.APIVersion)
	}
	if got := groupCollection("other.bench", "here"); got !=
		"/apis/other.bench/v1alpha1/namespaces/here/webhookdeliveries" {
		t.Errorf("collection %s", got)
	}
}
