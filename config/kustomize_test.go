// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kustomizations are the directories below this one that have a kustomization.yaml of the given kind: Kustomization, or
// Component, which builds only as part of another.
func kustomizations(t *testing.T, kind string) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "\nkind: "+kind+"\n") {
			dirs = append(dirs, filepath.Dir(path))
		}
		return err
	})
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no directory with a %s: %v", kind, err)
	}
	return dirs
}

// combined writes a kustomization of config/default with components, as users write theirs, and returns its directory.
func combined(t *testing.T, components ...string) string {
	t.Helper()
	text := "resources:\n- default\ncomponents:\n"
	for _, component := range components {
		text += "- " + component + "\n"
	}
	return kustomization(t, text)
}

// kustomization writes one that names directories below this one, and returns its own directory.
func kustomization(t *testing.T, text string) string {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Rel(dir, here)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^- (default|components/)`).ReplaceAllString(text, "- "+path+"/$1")
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
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

// allBuilt is what every directory and every component makes.
func allBuilt(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, dir := range kustomizations(t, "Kustomization") {
		all = append(all, built(t, dir)...)
	}
	for _, component := range kustomizations(t, "Component") {
		all = append(all, built(t, combined(t, component))...)
	}
	return all
}

// TestEveryKustomizationApplies has the API server judge them. The kinds of the Prometheus operator are those of
// testdata.
func TestEveryKustomizationApplies(t *testing.T) {
	dirs := map[string]string{}
	for _, dir := range kustomizations(t, "Kustomization") {
		dirs[dir] = dir
	}
	components := kustomizations(t, "Component")
	for _, component := range components {
		dirs["default with "+component] = combined(t, component)
	}
	dirs["default with all components"] = combined(t, components...)
	dirs["the example of docs/operations.md"] = documentedKustomization(t)
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
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

// documentedKustomization is the one that docs/operations.md shows, with this checkout in the place of a release.
func documentedKustomization(t *testing.T) string {
	t.Helper()
	_, text, _ := strings.Cut(page(t, "operations.md"), "```yaml\n# kustomization.yaml\n")
	text, _, _ = strings.Cut(text, "```")
	remote := regexp.MustCompile(`https://github.com/webhookdelivery/operator//config/(\S+)[?]ref=v[0-9.]+`)
	if len(remote.FindAllString(text, -1)) < 3 {
		t.Fatalf("docs/operations.md combines too little:\n%s", text)
	}
	return kustomization(t, remote.ReplaceAllString(text, "$1"))
}

// TestComponentsCombine looks for the flags and rules of each component where all of them are taken together.
func TestComponentsCombine(t *testing.T) {
	parts := func(dir string) map[string]bool {
		t.Helper()
		found := map[string]bool{}
		for _, object := range built(t, dir) {
			switch {
			case object.GetKind() == "Deployment":
				deployment := &appsv1.Deployment{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
					t.Fatal(err)
				}
				for _, flag := range deployment.Spec.Template.Spec.Containers[0].Args {
					found[flag] = true
				}
			case isRole(object):
				for _, rule := range role(t, object).Rules {
					found[fmt.Sprint(object.GetName(), describe(rule))] = true
				}
			}
		}
		return found
	}
	components := kustomizations(t, "Component")
	all, base := parts(combined(t, components...)), parts("default")
	added := 0
	for _, component := range components {
		for part := range parts(combined(t, component)) {
			if base[part] {
				continue
			}
			added++
			if !all[part] {
				t.Errorf("%s adds %s, but not beside the other components", component, part)
			}
		}
	}
	if added == 0 {
		t.Error("no component adds anything")
	}
}

// TestUninstallingKeepsTheCRD deletes, without effect, as docs/operations.md says.
func TestUninstallingKeepsTheCRD(t *testing.T) {
	const documented = "kubectl delete -f install.yaml -l app.kubernetes.io/component!=crd"
	if !strings.Contains(page(t, "operations.md"), documented) {
		t.Errorf("docs/operations.md no longer says %s", documented)
	}
	file := filepath.Join(t.TempDir(), "install.yaml")
	if err := os.WriteFile(file, []byte(kubectl(t, "kustomize default")), 0o600); err != nil {
		t.Fatal(err)
	}
	command := strings.Replace(strings.TrimPrefix(documented, "kubectl "), "install.yaml", file, 1)
	deleted := strings.Fields(kubectl(t, "%s --dry-run=server --output=name", command))
	if want := len(built(t, "default")) - 1; len(deleted) != want {
		t.Errorf("%d objects are deleted, want %d", len(deleted), want)
	}
	for _, name := range deleted {
		if strings.HasPrefix(name, "customresourcedefinition") {
			t.Errorf("%s is deleted, and with it every delivery", name)
		}
	}
}

// TestManagerPodIsRestricted puts the Deployment's pod into the namespace as installed, whose label makes the API
// server enforce the pod security standard.
func TestManagerPodIsRestricted(t *testing.T) {
	pod := operatorPod(t, "manager")
	if err := admin.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
		t.Error(err)
	}
	pod.Spec.SecurityContext.RunAsNonRoot = nil
	if err := admin.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that may run as root: %v, want it forbidden", err)
	}
	for _, container := range pod.Spec.Containers {
		if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
			t.Errorf("container %s may write to its root file system", container.Name)
		}
	}
}

// TestManagerResolvesNamesAsTheyAre looks for the option without which a Service, by its name and its namespace's, would
// take the place of a public host, so that deliveries to that host end as AddressDenied.
func TestManagerResolvesNamesAsTheyAre(t *testing.T) {
	ndots := "1"
	want := &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}}}
	if diff := cmp.Diff(want, operatorPod(t, "resolves").Spec.DNSConfig); diff != "" {
		t.Errorf("DNS configuration (-want +got):\n%s", diff)
	}
}

// operatorPod is a pod as the Deployment makes them.
func operatorPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "webhook-delivery-system", Name: "webhook-delivery-operator"}
	if err := admin.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
	pod.Namespace, pod.Name = key.Namespace, name
	return pod
}
