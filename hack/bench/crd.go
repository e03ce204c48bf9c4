// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/operator"
)

const (
	crdName = resource + ".webhookdelivery.dev"
	crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
)

// manifest is an object of Kubernetes in JSON, as encoding/json decodes it.
type manifest = map[string]any

// shippedCRD reads the CustomResourceDefinition that users install.
func shippedCRD() (manifest, error) {
	path := filepath.Join(operator.Root(), "config", "crd", "bases", "webhookdelivery.dev_webhookdeliveries.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	crd := manifest{}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return crd, nil
}

// variant changes a CRD into one of the same kind in another group.
func variant(crd manifest, group string) {
	crd["metadata"].(manifest)["name"] = resource + "." + group
	crd["spec"].(manifest)["group"] = group
}

// inGroup changes an object to be of another group.
func inGroup(t template, group string) template {
	return template(strings.Replace(string(t), v1alpha1.GroupVersion.Group, group, 1))
}

// version returns the only version of a CRD.
func version(crd manifest) manifest {
	return crd["spec"].(manifest)["versions"].([]any)[0].(manifest)
}

// dropFromSchema removes keywords from a schema and all that it contains. Names of properties are left alone.
func dropFromSchema(schema manifest, keywords ...string) {
	for _, keyword := range keywords {
		delete(schema, keyword)
	}
	if properties, ok := schema["properties"].(manifest); ok {
		for property := range maps.Values(properties) {
			dropFromSchema(property.(manifest), keywords...)
		}
	}
	for _, nested := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[nested].(manifest); ok {
			dropFromSchema(inner, keywords...)
		}
	}
}

func schemaOf(crd manifest) manifest {
	return version(crd)["schema"].(manifest)["openAPIV3Schema"].(manifest)
}

// celKeyword holds rules in CEL; validationKeywords is every keyword that only refuses, for an object without status.
// That a list is a map is among them: the API server checks that its keys are unique, and wants them to be required.
const celKeyword = "x-kubernetes-validations"

var validationKeywords = []string{
	celKeyword, "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength", "maxProperties",
	"maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "required", "uniqueItems",
	"x-kubernetes-list-map-keys", "x-kubernetes-list-type",
}

// createCRD creates a CRD and waits until objects of it can be created.
func (c *cluster) createCRD(ctx context.Context, crd manifest, object template) error {
	body, err := json.Marshal(crd)
	if err != nil {
		return err
	}
	if _, err := c.api.create(ctx, crdPath, body); err != nil {
		return err
	}
	group := crd["spec"].(manifest)["group"].(string)
	return poll(ctx, "a CRD to be served", func() (bool, error) {
		_, err := c.api.create(ctx, groupCollection(group, "default")+"?dryRun=All", object)
		if answered(err, http.StatusNotFound) {
			return false, nil
		}
		return err == nil, err
	})
}

func groupCollection(group, namespace string) string {
	return strings.Replace(collection(namespace), v1alpha1.GroupVersion.Group, group, 1)
}

// withStatus runs do while objects can be created together with their status, as if an operator had written it, which
// spares half of the writes. No manager may run meanwhile. There must be a delivery at path, to tell by when the status
// can be written by itself again.
func (c *cluster) withStatus(ctx context.Context, path string, do func() error) error {
	if err := c.patchCRD(ctx, `[{"op":"remove","path":"/spec/versions/0/subresources"}]`); err != nil {
		return err
	}
	if err := c.awaitStatus(ctx, path, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := c.patchCRD(ctx, `[{"op":"add","path":"/spec/versions/0/subresources","value":{"status":{}}}]`); err != nil {
		return err
	}
	if err := c.awaitStatus(ctx, path, true); err != nil {
		return err
	}
	return c.awaitWatch(ctx)
}

// patchCRD changes the product's CRD by a JSON patch.
func (c *cluster) patchCRD(ctx context.Context, patch string) error {
	_, err := c.api.do(ctx, http.MethodPatch, crdPath+"/"+crdName, jsonPatchType, []byte(patch))
	return err
}

// awaitStatus returns when the status of the delivery at path is served by itself, or no more. While the API server
// changes over it cuts requests off.
func (c *cluster) awaitStatus(ctx context.Context, path string, served bool) error {
	return poll(ctx, "the CRD to change", func() (bool, error) {
		_, err := c.api.do(ctx, http.MethodGet, path+"/status", "", nil)
		if served {
			return err == nil, nil
		}
		return answered(err, http.StatusNotFound), nil
	})
}

// awaitWatch returns when deliveries can be watched. A change of the CRD makes the API server read all of them again
// before, which is not to count as the manager's time to start.
func (c *cluster) awaitWatch(ctx context.Context) error {
	path := "/apis/" + v1alpha1.GroupVersion.String() + "/" + resource +
		"?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone"
	return poll(ctx, "the API server to have read all deliveries", func() (bool, error) {
		response, err := c.api.open(ctx, http.MethodGet, path, "", jsonType, nil)
		if answered(err, http.StatusTooManyRequests) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, response.Body.Close()
	})
}
