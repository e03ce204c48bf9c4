// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPins holds together the versions that go.mod repeats: kubernetes v1.37.2 is made of the modules v0.37.2.
func TestPins(t *testing.T) {
	const dir = "../build"
	pinned, err := pinnedVersions(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := goCommand(t.Context(), dir, "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Replace []struct {
			New struct{ Path, Version string }
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) == 0 {
		t.Error("no staging module is replaced")
	}
	want := strings.Replace(pinned.kubernetes, "v1.", "v0.", 1)
	for _, replace := range mod.Replace {
		if replace.New.Version != want {
			t.Errorf("%s is replaced by %s, want %s", replace.New.Path, replace.New.Version, want)
		}
	}
}

func TestPinsMissing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := pinnedVersions(t.Context(), dir); err == nil {
		t.Errorf("got %v from a go.mod that requires nothing", v)
	}
}

func TestChoose(t *testing.T) {
	const (
		wanted = "(available)  v1.37.2  linux/amd64\n"
		first  = "(available)  v1.37.0  linux/amd64\n"
		others = "(available)  v1.37.4  linux/amd64\n(available)  v1.37.12  linux/amd64\n"
	)
	cases := map[string]struct {
		list string
		want string
		ok   bool
	}{
		"the wanted patch release":       {others + wanted + first, "1.37.2", true},
		"else the first of its minor":    {others + first, "1.37.0", true},
		"never one that changes by time": {others, "", false},
		"an empty list":                  {"", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got, ok := choose(tc.list, "v1.37.2"); got != tc.want || ok != tc.ok {
				t.Errorf("got %q, %v, want %q, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestInstall(t *testing.T) {
	v := versions{kubernetes: "v1.37.2", etcd: "v3.7.3"}
	prepare := func(t *testing.T) string {
		t.Helper()
		from, to := t.TempDir(), filepath.Join(t.TempDir(), "k8s")
		for _, name := range binaries {
			if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := install(from, to, v.String()+"\nfrom a test\n"); err != nil {
			t.Fatal(err)
		}
		return to
	}
	cases := map[string]struct {
		spoil func(t *testing.T, dir string)
		want  versions
		ok    bool
	}{
		"complete":             {func(*testing.T, string) {}, v, true},
		"Kubernetes is bumped": {func(*testing.T, string) {}, versions{"v1.37.3", "v3.7.3"}, false},
		"etcd is bumped":       {func(*testing.T, string) {}, versions{"v1.37.2", "v3.7.4"}, false},
		"a binary is missing":  {func(t *testing.T, dir string) { remove(t, dir, "kubectl") }, v, false},
		"an interrupted installation": {func(t *testing.T, dir string) {
			if err := install(t.TempDir(), dir, v.String()); err == nil {
				t.Error("an installation from an empty directory succeeded")
			}
		}, v, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := prepare(t)
			tc.spoil(t, dir)
			if got := installed(dir, tc.want); got != tc.ok {
				t.Errorf("installed: %v, want %v", got, tc.ok)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestProgress(t *testing.T) {
	progress := &goProgress{}
	follow(strings.NewReader(`go: downloading k8s.io/api v0.37.2
go: downloading k8s.io/kms v0.37.2
runtime
k8s.io/api/core/v1
# k8s.io/api/core/v2
core/v2/types.go:1:2: syntax error
`), progress)
	if diff := cmp.Diff("2 modules downloaded, 2 packages compiled", progress.String()); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("# k8s.io/api/core/v2\ncore/v2/types.go:1:2: syntax error", progress.errorText()); diff != "" {
		t.Errorf("cause (-want +got):\n%s", diff)
	}
}
