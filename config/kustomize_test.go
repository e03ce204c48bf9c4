// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kustomizations are the directories below this one that have a kustomization.yaml.
func kustomizations(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			dirs = append(dirs, filepath.Dir(path))
		}
		return err
	})
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no kustomizations: %v", err)
	}
	return dirs
}

// objects parses a stream of manifests.
func objects(t *testing.T, manifests io.Reader) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(manifests, 4096); ; {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		case len(object.Object) > 0:
			all = append(all, object)
		}
	}
}

func built(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	return objects(t, strings.NewReader(kubectl(t, "kustomize %s", dir)))
}

func TestEveryKustomizationApplies(t *testing.T) {
	for _, dir := range kustomizations(t) {
		t.Run(dir, func(t *testing.T) {
			kubectl(t, "apply --server-side --dry-run=server --validate=strict --kustomize %s", dir)
			for _, object := range built(t, dir) {
				mapping, err := admin.RESTMapper().RESTMapping(object.GroupVersionKind().GroupKind())
				if err != nil {
					t.Fatal(err)
				}
				namespaced := mapping.Scope.Name() == "namespace"
				if namespaced != (object.GetNamespace() != "") {
					t.Errorf("%s %s: namespaced is %t and its namespace %q", object.GetKind(), object.GetName(),
						namespaced, object.GetNamespace())
				}
			}
		})
	}
}

// TestManagerPodIsRestricted puts the Deployment's pod into the namespace as installed, whose label makes the API
// server enforce the pod security standard.
func TestManagerPodIsRestricted(t *testing.T) {
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "webhook-delivery-system", Name: "webhook-delivery-operator"}
	if err := admin.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
	pod.Namespace, pod.Name = key.Namespace, "manager"
	if err := admin.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
		t.Error(err)
	}
	pod.Spec.SecurityContext.RunAsNonRoot = nil
	if err := admin.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that may run as root: %v, want it forbidden", err)
	}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
			t.Errorf("container %s may write to its root file system", container.Name)
		}
	}
}

// TestManagerResolvesNamesAsTheyAre looks for the option without which a Service, by its name and its namespace's, would
// take the place of a public host, so that deliveries to that host end as AddressDenied.
func TestManagerResolvesNamesAsTheyAre(t *testing.T) {
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "webhook-delivery-system", Name: "webhook-delivery-operator"}
	if err := admin.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	ndots := "1"
	want := &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}}}
	if diff := cmp.Diff(want, deployment.Spec.Template.Spec.DNSConfig); diff != "" {
		t.Errorf("DNS configuration (-want +got):\n%s", diff)
	}
}
