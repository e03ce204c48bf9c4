// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops shows how deliveries of every phase look to Argo CD, Flux and kstatus, by what these tools run. The
// checks are those of docs/gitops.md. It is a module of its own, so that the operator does not depend on any of them.
package gitops

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	page = "../../docs/gitops.md"
	// objects are what the operator's own tests know of statuses.
	objects = "../../controllers/delivery/testdata"
)

// look is how a delivery looks.
type look struct {
	kstatus, flux status.Status
	argo          string
}

func TestLooks(t *testing.T) {
	tests := map[string]look{
		"pending":            {status.InProgressStatus, status.InProgressStatus, "Progressing"},
		"retrying":           {status.CurrentStatus, status.InProgressStatus, "Progressing"},
		"waiting-for-secret": {status.CurrentStatus, status.InProgressStatus, "Progressing"},
		"redelivered":        {status.CurrentStatus, status.InProgressStatus, "Progressing"},
		"suspended":          {status.CurrentStatus, status.InProgressStatus, "Suspended"},
		"delivered":          {status.CurrentStatus, status.CurrentStatus, "Healthy"},
		"undeliverable":      {status.CurrentStatus, status.FailedStatus, "Degraded"},
	}
	if files, err := filepath.Glob(objects + "/*.json"); err != nil || len(files) != len(tests) {
		t.Errorf("%d objects and %d tests: %v", len(files), len(tests), err)
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			if got := looks(t, read(t, name)); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestLooksOfChanges are objects of which the spec changes later than the operator writes.
func TestLooksOfChanges(t *testing.T) {
	tests := map[string]struct {
		object string
		change func(t *testing.T, o map[string]any)
		want   look
	}{
		"no status, as in a manifest": {
			"delivered",
			func(_ *testing.T, o map[string]any) { delete(o, "status") },
			look{status.CurrentStatus, "", "Progressing"},
		},
		"spec.suspend, not yet noticed": {
			"pending",
			func(t *testing.T, o map[string]any) { set(t, o, true, "spec", "suspend") },
			look{status.InProgressStatus, status.InProgressStatus, "Suspended"},
		},
		"a TTL changed after the end": {
			"delivered",
			func(t *testing.T, o map[string]any) { set(t, o, int64(2), "metadata", "generation") },
			look{status.InProgressStatus, status.InProgressStatus, "Healthy"},
		},
		"suspended after the end": {
			"undeliverable",
			func(t *testing.T, o map[string]any) { set(t, o, true, "spec", "suspend") },
			look{status.CurrentStatus, status.FailedStatus, "Degraded"},
		},
		"deleted, held by a finalizer": {
			"delivered",
			func(t *testing.T, o map[string]any) {
				set(t, o, "2026-01-02T03:04:05Z", "metadata", "deletionTimestamp")
			},
			look{status.TerminatingStatus, status.CurrentStatus, "Healthy"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := read(t, tc.object)
			tc.change(t, o.Object)
			if got := looks(t, o); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func read(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(objects, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return o
}

func set(t *testing.T, o map[string]any, value any, fields ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(o, value, fields...); err != nil {
		t.Fatal(err)
	}
}

func looks(t *testing.T, o *unstructured.Unstructured) look {
	t.Helper()
	k, err := status.Compute(o)
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := cel.NewStatusEvaluator(expressions(t))
	if err != nil {
		t.Fatal(err)
	}
	l := look{kstatus: k.Status}
	// Flux takes an error for a resource that is not ready yet.
	if f, err := evaluator.Evaluate(context.Background(), o); err == nil {
		l.flux = f.Status
	}
	l.argo = health(t, o)
	return l
}

// manifest returns the first of the page's YAML blocks of that kind.
func manifest(t *testing.T, kind string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(text, -1) {
		var o map[string]any
		if err := yaml.Unmarshal(block[1], &o); err == nil && o["kind"] == kind {
			return o
		}
	}
	t.Fatalf("%s has no %s", page, kind)
	return nil
}

// expressions returns the healthCheckExprs of the page's Kustomization.
func expressions(t *testing.T) *kustomize.HealthCheckExpressions {
	t.Helper()
	checks, _, err := unstructured.NestedSlice(manifest(t, "Kustomization"), "spec", "healthCheckExprs")
	if err != nil || len(checks) != 1 {
		t.Fatalf("%d checks: %v", len(checks), err)
	}
	raw, err := yaml.Marshal(checks[0])
	if err != nil {
		t.Fatal(err)
	}
	var check kustomize.CustomHealthCheck
	if err := yaml.UnmarshalStrict(raw, &check); err != nil {
		t.Fatal(err)
	}
	if check.APIVersion != "webhookdelivery.dev/v1alpha1" || check.Kind != "WebhookDelivery" {
		t.Fatalf("the check is for %s %s", check.APIVersion, check.Kind)
	}
	return &check.HealthCheckExpressions
}

// health runs the check of the page's ConfigMap as Argo CD does: with the base and table libraries only, the object as
// the global obj, and a table with a status and a message as the result.
func health(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	const key = "resource.customizations.health.webhookdelivery.dev_WebhookDelivery"
	data, _, err := unstructured.NestedStringMap(manifest(t, "ConfigMap"), "data")
	if err != nil || data[key] == "" {
		t.Fatalf("the ConfigMap lacks %s: %v", key, err)
	}
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	l.SetGlobal("obj", toLua(l, o.Object))
	if err := l.DoString(data[key]); err != nil {
		t.Fatal(err)
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the check returns a %s", l.Get(-1).Type())
	}
	if err := explains(o, result.RawGetString("message").String()); err != nil {
		t.Error(err)
	}
	return result.RawGetString("status").String()
}

// explains returns an error unless the message is the one of the object's conditions, if these have one.
func explains(o *unstructured.Unstructured, message string) error {
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		want, _, _ := unstructured.NestedString(c.(map[string]any), "message")
		if want != "" && !strings.Contains(message, want) {
			return errors.New("the message is " + message + ", want " + want)
		}
	}
	return err
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(toLua(l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	}
	return lua.LNil
}
