// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// flavour is the product's CRD with less and less of what the API server does about an object. Policies apply to the
// product's group alone.
type flavour struct {
	name  string
	group string
	strip func(crd manifest)
}

// flavours are ordered by what they have. The reference is the same CRD without any validation; what follows it tells
// what else a delivery needs that costs the API server something.
var flavours = []flavour{
	{"shipped", v1alpha1.GroupVersion.Group, nil},
	{"no_policies", "crd-only.bench", func(manifest) {}},
	{"no_policies_no_cel", "no-cel.bench", func(crd manifest) { dropFromSchema(schemaOf(crd), celKeyword) }},
	{"nothing", "bare.bench", func(crd manifest) { dropFromSchema(schemaOf(crd), validationKeywords...) }},
	{"nothing_no_default", "no-default.bench", func(crd manifest) {
		dropFromSchema(schemaOf(crd), append([]string{"default"}, validationKeywords...)...)
	}},
	{"nothing_no_selectors", "no-selectors.bench", func(crd manifest) {
		dropFromSchema(schemaOf(crd), validationKeywords...)
		delete(version(crd), "selectableFields")
	}},
}

// reference is the flavour that the others are compared with.
const reference = "nothing"

// compared are the flavours to measure, and how often. Among other scenarios it is the goal's two alone, but more
// often: the rate of one second says little on a machine that is shared.
func compared(s settings) (chosen []flavour, rounds int) {
	if s.scenario != "" {
		return flavours, s.fewerRounds()
	}
	for _, v := range flavours {
		if v.strip == nil || v.name == reference {
			chosen = append(chosen, v)
		}
	}
	return chosen, 3 * s.rounds
}

// admission compares the rate of bare creates of what is shipped with that of the same CRD without validation. Run
// alone, it tells what each part of the difference costs, of creations and of the status writes that follow. No
// manager runs.
func admission(ctx context.Context, s settings) (f figures, err error) {
	t, err := newTemplate("https://receiver.example/webhook", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return f, err
	}
	chosen, rounds := compared(s)
	detailed := len(chosen) == len(flavours)
	creates, writes := map[string][]run{}, map[string][]run{}
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		if err := c.createFlavours(ctx, chosen, t); err != nil {
			return err
		}
		for round := range rounds + 1 {
			// Each begins once: what the API server collects of the garbage of one may fall to the next.
			for turn := range chosen {
				v := chosen[(round+turn)%len(chosen)]
				created, written, err := c.bareRuns(ctx, s.count(1000), v.group, inGroup(t, v.group), detailed)
				if err != nil {
					return err
				}
				if round > 0 { // the first warms up
					creates[v.name], writes[v.name] = append(creates[v.name], created), append(writes[v.name], written)
				}
			}
		}
		return nil
	})
	f.add("bare_per_second", medianOf(creates[reference], run.perSecond))
	f.add("shipped_per_second", medianOf(creates[flavours[0].name], run.perSecond))
	f.add("ratio", medianRatio(creates[flavours[0].name], creates[reference], run.perSecond))
	type kind struct {
		name string
		runs map[string][]run
	}
	kinds := []kind{{"create", creates}}
	if detailed {
		kinds = append(kinds, kind{"status", writes})
	}
	for _, kind := range kinds {
		for _, v := range chosen {
			f.add(v.name+"_"+kind.name+"_ratio", medianRatio(kind.runs[v.name], kind.runs[reference], run.perSecond))
		}
		for _, v := range chosen { // all rounds together: the median of small numbers is coarse
			f.add(v.name+"_"+kind.name+"_apiserver_cpu_seconds_per_1000", sum(kind.runs[v.name]).per1000(usage.ofAPIServer))
		}
	}
	return f, err
}

// createFlavours creates the CRDs beside the product's own.
func (c *cluster) createFlavours(ctx context.Context, chosen []flavour, t template) error {
	for _, v := range chosen {
		if v.strip == nil {
			continue
		}
		crd, err := shippedCRD()
		if err != nil {
			return err
		}
		variant(crd, v.group)
		v.strip(crd)
		if err := c.createCRD(ctx, crd, inGroup(t, v.group)); err != nil {
			return err
		}
	}
	return nil
}

// bareRuns creates objects, and then, if asked to, writes the status of each.
func (c *cluster) bareRuns(
	ctx context.Context, count int, group string, t template, write bool,
) (created, written run, err error) {
	status, err := json.Marshal(deliveredStatus())
	if err != nil {
		return created, written, err
	}
	namespace, err := c.namespace(ctx)
	if err != nil {
		return created, written, err
	}
	path := groupCollection(group, namespace)
	versions := make([]string, count)
	created, err = c.measure(count, func() (time.Duration, error) {
		return flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) (err error) {
			versions[i], err = c.api.create(ctx, path, t.object(i))
			return err
		})
	})
	if err != nil || !write {
		return created, written, err
	}
	written, err = c.measure(count, func() (time.Duration, error) {
		return flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) error {
			return c.api.writeStatus(ctx, path+"/"+taskName(i), versions[i], status)
		})
	})
	return created, written, err
}
