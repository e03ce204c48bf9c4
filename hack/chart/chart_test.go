// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/hack/controlplane"
)

const (
	helm      = "bin/tools/helm"
	elsewhere = "elsewhere" // a namespace to install into that the manifests do not name
)

var (
	plane      *controlplane.ControlPlane
	kubeconfig string
	chart      string // the directory of the chart that the tests render
	source     = options{config: "config", files: "hack/chart/files", kustomize: "bin/tools/kustomize"}
)

func TestMain(m *testing.M) { os.Exit(start(m)) }

func start(m *testing.M) (code int) {
	ctx := context.Background()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// All paths are those of the repository's root, which is where the control plane looks for its binaries.
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		return fail(err)
	}
	for _, tool := range []string{helm, source.kustomize} {
		if _, err := os.Stat(tool); err != nil {
			return fail(fmt.Errorf("make verify builds what these tests run: %w", err))
		}
	}
	dir, err := os.MkdirTemp("", "chart-test-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o := source
	o.out = filepath.Join(dir, "webhook-delivery-operator")
	if err := run(o); err != nil {
		return fail(err)
	}
	chart = o.out
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return fail(err)
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			code = fail(err)
		}
	}()
	for _, name := range []string{namespace, elsewhere, "tasks", "more-tasks"} {
		if _, err := plane.Kubectl(ctx, "create", "namespace", name); err != nil {
			return fail(err)
		}
	}
	if kubeconfig, err = plane.Kubeconfig(plane.Config()); err != nil {
		return fail(err)
	}
	return m.Run()
}

// runHelm runs helm with a home of its own, and returns what it wrote.
func runHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), helm, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home,
		"KUBECONFIG="+kubeconfig)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// render returns what the chart makes of values, given as YAML.
func render(t *testing.T, namespace, values string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return runHelm(t, "template", "release", chart, "--namespace", namespace, "--values", file)
}

func mustRender(t *testing.T, namespace, values string) string {
	t.Helper()
	out, err := render(t, namespace, values)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

func objects(t *testing.T, manifests string) map[string]map[string]any {
	t.Helper()
	parsed, err := parse([]byte(manifests))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestLint(t *testing.T) {
	if out, err := runHelm(t, "lint", "--strict", chart); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestChartMakesWhatKustomizeMakes compares the two, and applies what the chart makes to the API server.
func TestChartMakesWhatKustomizeMakes(t *testing.T) {
	const image = "image: {repository: webhook-delivery-operator, tag: dev}\ncrds: {keep: false}\n"
	for name, tc := range map[string]struct {
		values     string
		components []string
	}{
		"default":        {"", nil},
		"fetch":          {"fetch: {enabled: true}", []string{"fetch"}},
		"jobs":           {"jobs: {enabled: true}", []string{"jobs"}},
		"namespaced":     {"namespaces: [tasks]", []string{"namespaced"}},
		"without policy": {"policy: {enabled: false}", []string{"without-policy"}},
		"http":           {"allowHTTP: true", []string{"allow-http"}},
		"everything": {"allowHTTP: true\nfetch: {enabled: true}\njobs: {enabled: true}\nnamespaces: [tasks]\npolicy: {enabled: false}",
			[]string{"allow-http", "fetch", "jobs", "namespaced", "without-policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			rendered := mustRender(t, namespace, image+tc.values)
			want, err := build(source, tc.components...)
			if err != nil {
				t.Fatal(err)
			}
			delete(want, "namespace-"+namespace)
			if diff := cmp.Diff(want, objects(t, rendered)); diff != "" {
				t.Errorf("(-kustomize +chart):\n%s", diff)
			}
			applies(t, rendered)
		})
	}
}

// applies lets the API server check manifests, strictly and without effect.
func applies(t *testing.T, manifests string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := plane.Kubectl(t.Context(), "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file)
	if err != nil {
		t.Error(err)
	}
}

// TestEveryValueCounts sets each value to something else and looks for what this must make.
func TestEveryValueCounts(t *testing.T) {
	tests := map[string]struct{ set, want, gone string }{
		"image.repository": {set: "image: {repository: r.example/o}", want: `image: "r.example/o:dev"`},
		"image.tag":        {set: "image: {tag: v1}", want: `image: "ghcr.io/webhookdelivery/operator:v1"`},
		"image.pullPolicy": {set: "image: {pullPolicy: Never}", want: "imagePullPolicy:\n            Never\n"},
		"imagePullSecrets": {set: "imagePullSecrets: [{name: pull}]", want: "imagePullSecrets:\n        - name: pull\n"},
		"replicas":         {set: "replicas: 1", want: "replicas: 1\n", gone: "PodDisruptionBudget"},
		"namespaces": {set: "namespaces: [tasks, more-tasks]", want: "--namespaces=tasks,more-tasks",
			gone: "kind: ClusterRoleBinding\nmetadata:\n  labels:\n    app.kubernetes.io/name: webhook-delivery-operator\n" +
				"  name: webhook-delivery-operator\n"},
		"jobs.enabled":                  {set: "jobs: {enabled: true}", want: "- --jobs\n"},
		"fetch.enabled":                 {set: "fetch: {enabled: true}", want: `secretName: "webhook-delivery-fetch-tls"`},
		"fetch.secretName":              {set: "fetch: {enabled: true, secretName: tls}", want: `secretName: "tls"`},
		"policy.enabled":                {set: "policy: {enabled: false}", gone: "ValidatingAdmissionPolicy"},
		"allowHTTP":                     {set: "allowHTTP: true", want: "- --allow-http\n", gone: "https-only.webhookdelivery.dev"},
		"crds.enabled":                  {set: "crds: {enabled: false}", gone: "CustomResourceDefinition"},
		"crds.keep":                     {set: "crds: {keep: false}", gone: "helm.sh/resource-policy"},
		"extraArgs":                     {set: "extraArgs: [--max-requests=9]", want: `- "--max-requests=9"`},
		"terminationGracePeriodSeconds": {set: "terminationGracePeriodSeconds: 90", want: "terminationGracePeriodSeconds: 90\n"},
		"extraVolumes": {set: "extraVolumes: [{name: ca, configMap: {name: authorities}}]\nfetch: {enabled: true}",
			want: "          name: authorities\n"},
		"extraVolumeMounts": {set: "extraVolumes: [{name: ca, emptyDir: {}}]\nextraVolumeMounts: [{name: ca, mountPath: /ca}]",
			want: "mountPath: /ca\n"},
		"resources.requests.cpu":    {set: "resources: {requests: {cpu: 1m}}", want: "cpu: 1m\n"},
		"resources.requests.memory": {set: "resources: {requests: {memory: 1Mi}}", want: "memory: 1Mi\n"},
		"resources.limits.memory":   {set: "resources: {limits: {memory: 9Gi}}", want: "memory: 9Gi\n"},
		"goMemLimit":                {set: "goMemLimit: 8GiB", want: `value: "8GiB"`},
		"podAnnotations":            {set: "podAnnotations: {a: b}", want: "annotations:\n        a: b\n"},
		"nodeSelector":              {set: "nodeSelector: {pool: egress}", want: "nodeSelector:\n        pool: egress\n"},
		"tolerations":               {set: "tolerations: [{key: k}]", want: "tolerations:\n        - key: k\n"},
		"affinity":                  {set: "affinity: {podAffinity: {}}", want: "affinity:\n        podAffinity: {}\n"},
	}
	for value, tc := range tests {
		t.Run(value, func(t *testing.T) {
			rendered, before := mustRender(t, elsewhere, tc.set), mustRender(t, elsewhere, "")
			if !strings.Contains(rendered, tc.want) || (tc.want != "" && strings.Contains(before, tc.want)) {
				t.Errorf("%q is not what this value brings", tc.want)
			}
			if tc.gone != "" && (strings.Contains(rendered, tc.gone) || !strings.Contains(before, tc.gone)) {
				t.Errorf("%q is not what this value takes away", tc.gone)
			}
			if strings.Contains(rendered, namespace) {
				t.Errorf("%s is named, but the release is in another", namespace)
			}
			applies(t, rendered)
		})
	}
	text, err := os.ReadFile(filepath.Join(source.files, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(leaves("", values), slices.Sorted(maps.Keys(tests))); diff != "" {
		t.Errorf("values (-values.yaml +tried here):\n%s", diff)
	}
}

// leaves are the paths of all that can be set, in order.
func leaves(path string, value any) (paths []string) {
	children, ok := value.(map[string]any)
	if !ok || len(children) == 0 {
		return []string{path}
	}
	for key, child := range children {
		paths = append(paths, leaves(strings.TrimPrefix(path+"."+key, "."), child)...)
	}
	slices.Sort(paths)
	return paths
}

func TestSchemaRefuses(t *testing.T) {
	for _, values := range []string{
		"replica: 1", "replicas: two", "jobs: true", "namespaces: tasks", "namespaces: [Tasks]", "extraArgs: [jobs]",
		"goMemLimit: a lot", "goMemLimit: 460Mi", "image: {pullPolicy: Sometimes}", "terminationGracePeriodSeconds: 0",
	} {
		t.Run(values, func(t *testing.T) {
			out, err := render(t, namespace, values)
			if err == nil || !strings.Contains(out, "values don't meet the specifications of the schema") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestReleaseKeepsTheCRD installs, uninstalls and installs again.
func TestReleaseKeepsTheCRD(t *testing.T) {
	must := func(args ...string) {
		t.Helper()
		if out, err := runHelm(t, append(args, "--namespace", elsewhere)...); err != nil {
			t.Fatalf("helm %s: %v: %s", args[0], err, out)
		}
	}
	crds := func() int {
		t.Helper()
		out, err := plane.Kubectl(t.Context(), "get", "crd", "--output=name")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(out, "webhookdeliveries.webhookdelivery.dev")
	}
	for range 2 {
		must("install", "release", chart, "--wait=hookOnly")
		must("uninstall", "release")
		if crds() != 1 {
			t.Fatal("the CRD is gone with the release")
		}
		out, err := plane.Kubectl(t.Context(), "get", "deployment,validatingadmissionpolicy,clusterrole,clusterrolebinding",
			"--all-namespaces", "--selector=app.kubernetes.io/name=webhook-delivery-operator", "--output=name")
		if err != nil || out != "" {
			t.Errorf("left behind: %v %s", err, out)
		}
	}
	must("install", "release", chart, "--wait=hookOnly")
	must("upgrade", "release", chart, "--wait=hookOnly", "--set=crds.keep=false")
	must("uninstall", "release", "--wait")
	if crds() != 0 {
		t.Error("the CRD is still there, but crds.keep is false")
	}
}

func TestGeneratorRefuses(t *testing.T) {
	type node = map[string]any
	for name, tc := range map[string]struct {
		to, from node
		want     string
	}{
		"a change":             {node{"a": "1"}, node{"a": "2"}, "a: a component cannot change 1 into 2"},
		"another type":         {node{"a": "1"}, node{"a": node{}}, "a component cannot change"},
		"a key taken away":     {node{"a": "1"}, node{}, "a: a component cannot take it away"},
		"an element taken":     {node{"a": []any{"1"}}, node{"a": []any{}}, "1: a component cannot take it away"},
		"an element put first": {node{"a": []any{"1"}}, node{"a": []any{"0", "1"}}, "a component cannot change 1 into 0"},
		"what two add":         {node{"a": guarded{"if x", "1"}}, node{"a": "1"}, "a component cannot change"},
	} {
		t.Run(name, func(t *testing.T) {
			err := merge(tc.to, tc.from, feature{condition: "y"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := emit(node{"a": "{{ x }}"}, 0); err == nil {
		t.Error("a text of Helm's kind is taken over")
	}
	if _, err := set(node{"a": "1"}, []string{"b"}, "2", false); err == nil {
		t.Error("a place is set that is not there")
	}
}
