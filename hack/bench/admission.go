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

// bare is the flavour that the others are compared with.
const bare = 3

// admission compares the rate of bare creates of what is shipped with that of the same CRD without validation, and
// tells what each part of the difference costs, of creations and of the status writes that follow. No manager runs.
func admission(ctx context.Context, s settings) (f figures, err error) {
	t, err := newTemplate("https://receiver.example/webhook", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return f, err
	}
	creates, writes := make([][]run, len(flavours)), make([][]run, len(flavours))
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) error {
		if err := c.createFlavours(ctx, t); err != nil {
			return err
		}
		for round := range s.fewerRounds() + 1 {
			// Each begins once: what the API server collects of the garbage of one may fall to the next.
			for turn := range flavours {
				i := (round + turn) % len(flavours)
				group := flavours[i].group
				created, written, err := c.bareRuns(ctx, s.count(1000), group, inGroup(t, group))
				if err != nil {
					return err
				}
				if round > 0 { // the first warms up
					creates[i], writes[i] = append(creates[i], created), append(writes[i], written)
				}
			}
		}
		return nil
	})
	f.add("bare_per_second", medianOf(creates[bare], run.perSecond))
	f.add("shipped_per_second", medianOf(creates[0], run.perSecond))
	f.add("ratio", medianRatio(creates[0], creates[bare], run.perSecond))
	for _, kind := range []struct {
		name string
		runs [][]run
	}{{"create", creates}, {"status", writes}} {
		for i, v := range flavours {
			f.add(v.name+"_"+kind.name+"_ratio", medianRatio(kind.runs[i], kind.runs[bare], run.perSecond))
		}
		for i, v := range flavours { // all rounds together: the median of small numbers is coarse
			f.add(v.name+"_"+kind.name+"_apiserver_cpu_seconds_per_1000",
				sum(kind.runs[i]).per1000(usage.ofAPIServer))
		}
	}
	return f, err
}

// createFlavours creates the CRDs beside the product's own.
func (c *cluster) createFlavours(ctx context.Context, t template) error {
	for _, v := range flavours {
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

// bareRuns creates objects, and then writes the status of each.
func (c *cluster) bareRuns(ctx context.Context, count int, group string, t template) (created, written run, err error) {
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
	if err != nil {
		return created, written, err
	}
	written, err = c.measure(count, func() (time.Duration, error) {
		return flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) error {
			return c.api.writeStatus(ctx, path+"/"+taskName(i), versions[i], status)
		})
	})
	return created, written, err
}
