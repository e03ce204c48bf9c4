// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	operatorNamespace = "webhook-delivery-system"
	operatorUser      = "system:serviceaccount:webhook-delivery-system:webhook-delivery-operator"
)

var operatorGroups = []string{
	"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:webhook-delivery-system",
}

// shippedRules is every right that config/default grants, by role.
var shippedRules = map[string][]string{
	"ClusterRole webhook-delivery-operator": {
		"webhookdeliveries.webhookdelivery.dev: get list watch patch delete",
		"webhookdeliveries/status.webhookdelivery.dev: patch",
		"events.events.k8s.io: create patch",
	},
	"ClusterRole webhook-delivery-operator-auth": {
		"tokenreviews.authentication.k8s.io: create",
		"subjectaccessreviews.authorization.k8s.io: create",
	},
	"ClusterRole webhook-delivery-operator-secrets": {
		"secrets: get",
	},
	"Role webhook-delivery-operator-leader-election": {
		"leases.coordination.k8s.io: create",
		"leases.coordination.k8s.io webhook-delivery-operator: get update",
	},
	"ClusterRole webhookdelivery-viewer aggregate-to-view": {
		"webhookdeliveries.webhookdelivery.dev: get list watch",
	},
	"ClusterRole webhookdelivery-editor": {
		"webhookdeliveries.webhookdelivery.dev: get list watch create update patch delete deletecollection",
	},
	"ClusterRole webhookdelivery-metrics-reader": {
		"/metrics: get",
	},
}

// shippedBindings says who holds those roles. The others are for the administrator to bind.
var shippedBindings = map[string]string{
	"ClusterRoleBinding /webhook-delivery-operator":         "ClusterRole webhook-delivery-operator",
	"ClusterRoleBinding /webhook-delivery-operator-auth":    "ClusterRole webhook-delivery-operator-auth",
	"ClusterRoleBinding /webhook-delivery-operator-secrets": "ClusterRole webhook-delivery-operator-secrets",
	"RoleBinding webhook-delivery-system/webhook-delivery-operator-leader-election": "Role " +
		"webhook-delivery-operator-leader-election",
}

// role is what Role and ClusterRole have in common.
func role(t *testing.T, object *unstructured.Unstructured) *rbacv1.ClusterRole {
	t.Helper()
	parsed := &rbacv1.ClusterRole{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func isRole(object *unstructured.Unstructured) bool {
	return object.GetKind() == "Role" || object.GetKind() == "ClusterRole"
}

// describe writes a rule as lines of "resource.group names: verbs".
func describe(rule rbacv1.PolicyRule) []string {
	var lines []string
	verbs := ": " + strings.Join(rule.Verbs, " ")
	for _, path := range rule.NonResourceURLs {
		lines = append(lines, path+verbs)
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			name := strings.TrimSuffix(resource+"."+group, ".")
			lines = append(lines, strings.Join(append([]string{name}, rule.ResourceNames...), " ")+verbs)
		}
	}
	return lines
}

func TestShippedRightsAreExactlyThese(t *testing.T) {
	rules, bindings := map[string][]string{}, map[string]string{}
	for _, object := range built(t, "default") {
		switch {
		case isRole(object):
			name := object.GetKind() + " " + object.GetName()
			for label := range object.GetLabels() {
				if aggregate, found := strings.CutPrefix(label, rbacv1.GroupName+"/"); found {
					name += " " + aggregate
				}
			}
			for _, rule := range role(t, object).Rules {
				rules[name] = append(rules[name], describe(rule)...)
			}
		case strings.HasSuffix(object.GetKind(), "RoleBinding"):
			binding := &rbacv1.RoleBinding{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, binding); err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s %s/%s", binding.Kind, binding.Namespace, binding.Name)
			bindings[name] = binding.RoleRef.Kind + " " + binding.RoleRef.Name
			want := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operatorNamespace, Name: "webhook-delivery-operator"}}
			if diff := cmp.Diff(want, binding.Subjects); diff != "" {
				t.Errorf("%s: subjects (-want +got):\n%s", name, diff)
			}
		}
	}
	if diff := cmp.Diff(shippedRules, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(shippedBindings, bindings); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}

func TestNoRoleIsBroad(t *testing.T) {
	for _, object := range append(allBuilt(t), samples(t)...) {
		if !isRole(object) {
			continue
		}
		for _, rule := range role(t, object).Rules {
			for _, field := range [][]string{
				rule.APIGroups, rule.Resources, rule.Verbs, rule.ResourceNames, rule.NonResourceURLs,
			} {
				if strings.Contains(strings.Join(field, " "), "*") {
					t.Errorf("%s %s has a wildcard: %v", object.GetKind(), object.GetName(), rule)
				}
			}
			verbs := strings.Join(rule.Verbs, " ")
			if slices.Contains(rule.Resources, "secrets") && verbs != "get" && verbs != "use" {
				t.Errorf("%s %s: %v on secrets, want get or use alone", object.GetKind(), object.GetName(), rule.Verbs)
			}
		}
	}
}

// may asks the API server whether the operator's service account has a right.
func may(ctx context.Context, t *testing.T, right authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               operatorUser,
		Groups:             operatorGroups,
		ResourceAttributes: &right,
	}}
	if err := admin.Create(ctx, review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// TestNamespacedOverlay installs the overlay over the default and sees the operator lose its rights in the namespaces
// that the overlay does not list.
func TestNamespacedOverlay(t *testing.T) {
	questions := map[string]authorizationv1.ResourceAttributes{}
	for scope, namespace := range map[string]string{"a listed namespace": tasks, "another": elsewhere, "all": ""} {
		for what, right := range map[string]authorizationv1.ResourceAttributes{
			"list deliveries": {Verb: "list", Group: "webhookdelivery.dev", Resource: "webhookdeliveries"},
			"write their status": {Verb: "patch", Group: "webhookdelivery.dev", Resource: "webhookdeliveries",
				Subresource: "status"},
			"create events": {Verb: "create", Group: "events.k8s.io", Resource: "events"},
			"get a Secret":  {Verb: "get", Resource: "secrets", Name: "s"},
			"list Secrets":  {Verb: "list", Resource: "secrets"},
		} {
			right.Namespace = namespace
			questions[what+" in "+scope] = right
		}
	}
	questions["review tokens"] = authorizationv1.ResourceAttributes{
		Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"}
	rights := func(ctx context.Context) (held []string) {
		for question, right := range questions {
			if may(ctx, t, right) {
				held = append(held, question)
			}
		}
		slices.Sort(held)
		return held
	}
	listed := []string{
		"create events in a listed namespace", "get a Secret in a listed namespace",
		"list deliveries in a listed namespace", "review tokens", "write their status in a listed namespace",
	}
	everywhere := []string{
		"create events in a listed namespace", "create events in all", "create events in another",
		"get a Secret in a listed namespace", "get a Secret in all", "get a Secret in another",
		"list deliveries in a listed namespace", "list deliveries in all", "list deliveries in another",
		"review tokens",
		"write their status in a listed namespace", "write their status in all", "write their status in another",
	}
	eventually(t, "rights of config/default", func(ctx context.Context) error {
		return difference(everywhere, rights(ctx))
	})

	kubectl(t, "delete clusterrolebinding webhook-delivery-operator webhook-delivery-operator-secrets")
	t.Cleanup(func() {
		if err := plane.Apply(context.WithoutCancel(t.Context()), "default"); err != nil {
			t.Error(err)
		}
	})
	kubectl(t, "apply --server-side --kustomize overlays/namespaced")
	eventually(t, "rights of config/overlays/namespaced", func(ctx context.Context) error {
		return difference(listed, rights(ctx))
	})
}

// samples are the manifests below config/samples.
func samples(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	paths, err := filepath.Glob("samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("samples/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, path := range append(paths, more...) {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objects(t, file)...)
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	return all
}
