// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// found returns the only object of a kind in a kustomization, and reads it into what is given.
func found(t *testing.T, dir, kind string, into any) *unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, object := range built(t, dir) {
		if object.GetKind() == kind {
			all = append(all, object)
		}
	}
	if len(all) != 1 {
		t.Fatalf("%s has %d objects of kind %s, want one", dir, len(all), kind)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[0].Object, into); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

type serviceMonitor struct {
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Endpoints []struct {
			Port          string `json:"port"`
			Path          string `json:"path"`
			Scheme        string `json:"scheme"`
			Authorization struct {
				Credentials corev1.SecretKeySelector `json:"credentials"`
			} `json:"authorization"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// TestServiceMonitorMeetsTheService follows Prometheus from the ServiceMonitor to the flag of the manager, in every
// kustomization that has the manager.
func TestServiceMonitorMeetsTheService(t *testing.T) {
	monitor := &serviceMonitor{}
	namespace := found(t, "prometheus", "ServiceMonitor", monitor).GetNamespace()
	for _, dir := range []string{"default", "overlays/namespaced", "overlays/with-fetch", "overlays/with-jobs"} {
		deployment := &appsv1.Deployment{}
		found(t, dir, "Deployment", deployment)
		var matched []string
		for _, object := range built(t, dir) {
			selector := labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels)
			if object.GetKind() != "Service" || object.GetNamespace() != namespace ||
				!selector.Matches(labels.Set(object.GetLabels())) {
				continue
			}
			service := &corev1.Service{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, service); err != nil {
				t.Fatal(err)
			}
			matched = append(matched, service.Name)
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(deployment.Spec.Template.Labels)) {
				t.Errorf("%s: Service %s does not select the manager's pods", dir, service.Name)
			}
			named := slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
				return p.Name == monitor.Spec.Endpoints[0].Port && slices.ContainsFunc(
					deployment.Spec.Template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
						return c.Name == p.TargetPort.StrVal && c.ContainerPort == 8443
					})
			})
			if !named {
				t.Errorf("%s: port %q of Service %s does not lead to port 8443 of the manager", dir,
					monitor.Spec.Endpoints[0].Port, service.Name)
			}
		}
		// The alerts and the dashboard name the job after the Service.
		if diff := cmp.Diff([]string{"webhook-delivery-operator-metrics"}, matched); diff != "" {
			t.Errorf("%s: Services that are scraped (-want +got):\n%s", dir, diff)
		}
		for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
			if strings.HasPrefix(arg, "--metrics-") {
				t.Errorf("%s: %s: the ServiceMonitor expects the defaults, HTTPS on port 8443", dir, arg)
			}
		}
	}
	endpoint := monitor.Spec.Endpoints[0]
	if len(monitor.Spec.Endpoints) != 1 || endpoint.Scheme != "https" || endpoint.Path != "/metrics" {
		t.Errorf("endpoints %+v, want https and /metrics", monitor.Spec.Endpoints)
	}
	secret, account := &corev1.Secret{}, &corev1.ServiceAccount{}
	found(t, "prometheus", "Secret", secret)
	found(t, "prometheus", "ServiceAccount", account)
	if endpoint.Authorization.Credentials.Name != secret.Name || endpoint.Authorization.Credentials.Key != "token" ||
		secret.Type != corev1.SecretTypeServiceAccountToken ||
		secret.Annotations[corev1.ServiceAccountNameKey] != account.Name {
		t.Errorf("credentials %+v are not the token of %s in %s", endpoint.Authorization, account.Name, secret.Name)
	}
	kubectl(t, "apply --server-side --kustomize prometheus")
	kubectl(t, "auth can-i get /metrics --as=system:serviceaccount:%s:%s", account.Namespace, account.Name)
}

// TestEveryAlertHasItsRunbook compares the alerts with docs/runbooks and with the table in docs/metrics.md.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	rule := &struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert       string            `json:"alert"`
					Labels      map[string]string `json:"labels"`
					Annotations map[string]string `json:"annotations"`
				} `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}{}
	found(t, "prometheus", "PrometheusRule", rule)
	alerts := map[string]string{} // their severity, by name
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			alerts[r.Alert] = r.Labels["severity"]
			url := "https://github.com/webhookdelivery/operator/blob/main/docs/runbooks/" + r.Alert + ".md"
			if r.Annotations["runbook_url"] != url {
				t.Errorf("%s: runbook_url %q, want %s", r.Alert, r.Annotations["runbook_url"], url)
			}
			for _, annotation := range []string{"summary", "description"} {
				if r.Annotations[annotation] == "" {
					t.Errorf("%s has no %s", r.Alert, annotation)
				}
			}
		}
	}
	var names, runbooks []string
	for name, severity := range alerts {
		names = append(names, name)
		if severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q, want critical or warning", name, severity)
		}
	}
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		runbooks = append(runbooks, name)
		for _, heading := range []string{"# " + name, "## What it means", "## How to look", "## What to do"} {
			if !strings.Contains("\n"+string(text), "\n"+heading+"\n") {
				t.Errorf("%s has no line %q", page, heading)
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, runbooks); diff != "" {
		t.Errorf("runbooks (-alerts +pages):\n%s", diff)
	}
	if diff := cmp.Diff(alerts, documentedAlerts(t)); diff != "" {
		t.Errorf("docs/metrics.md, Alerts (-shipped +documented):\n%s", diff)
	}
}

// documentedAlerts are the severities in the table of docs/metrics.md, by alert.
func documentedAlerts(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if row, ok := strings.CutPrefix(line, "| ["); ok {
			name, rest, _ := strings.Cut(row, "]")
			alerts[name] = strings.TrimSpace(strings.Split(rest, "|")[1])
		}
	}
	return alerts
}
