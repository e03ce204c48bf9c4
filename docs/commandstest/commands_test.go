// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package commandstest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/hack/connect"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	// namespace is where the commands of all pages act, one page after the other.
	namespace = "tasks"
	// patience is how long a block may take.
	patience = 30 * time.Second
)

// programs are all that a command may use beside kubectl and what the shell has built in: what every machine has, and
// nothing that builds, installs or reaches beyond the control plane. A block that needs more has to be marked.
var programs = []string{
	"sh", "awk", "base64", "cat", "cut", "date", "grep", "head", "mkdir", "sed", "sort", "tail", "tr", "uniq",
}

// cluster is a control plane with the operator and a receiver that all URLs of the pages lead to.
type cluster struct {
	plane *controlplane.ControlPlane
	env   []string
}

func TestPages(t *testing.T) {
	c := start(t)
	found := pages(t)
	for _, path := range slices.Sorted(maps.Keys(found)) {
		t.Run(path, func(t *testing.T) {
			blocks, err := parse(found[path])
			if err != nil {
				t.Fatal(err)
			}
			dir := c.prepare(t)
			for _, b := range blocks {
				c.do(t, dir, b)
			}
		})
	}
}

// start starts the cluster, for as long as the test runs.
func start(t *testing.T) *cluster {
	t.Helper()
	ctx := t.Context()
	if err := operator.Build(ctx); err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, plane.Stop()) })
	inbox, err := receiver.Start(receiver.Options{
		Hosts: []string{"your-server.example", "receiver.demo.example"}, Secrets: []string{"my-secret-123", "my-secret-456"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, inbox.Close()) })
	to, err := url.Parse(inbox.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connect.Serve(w, r, to.Host)
	}))
	t.Cleanup(proxy.Close)
	authority := filepath.Join(plane.Dir(), "receiver-ca.pem")
	if err := os.WriteFile(authority, inbox.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	startManager(t, plane, "--retry-schedule=1s,1s,1s", "--jobs", "--ca-bundle="+authority, "--egress-proxy="+proxy.URL)
	return &cluster{plane: plane, env: environment(t, plane)}
}

func startManager(t *testing.T, plane *controlplane.ControlPlane, args ...string) {
	t.Helper()
	kubeconfig, err := operator.Install(t.Context(), plane, operator.WithJobs)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := operator.Start(t.Context(), operator.Options{
		Kubeconfig: kubeconfig, LogFile: filepath.Join(plane.Dir(), "manager.log"), Args: args,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, manager.Stop()) })
	if err := manager.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func stopped(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// environment is what commands run in: the administrator's kubeconfig and the programs that they may use.
func environment(t *testing.T, plane *controlplane.ControlPlane) []string {
	t.Helper()
	kubeconfig, err := plane.Kubeconfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(filepath.Join(controlplane.BinDir(), "kubectl"), filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := &cluster{plane: plane, env: []string{"PATH=" + bin, "KUBECONFIG=" + kubeconfig, "HOME=" + plane.Dir()}}
	c.must(t, bin, "kubectl create namespace "+namespace+
		" && kubectl config set-context --current --namespace="+namespace)
	return c.env
}

// prepare empties the namespace and returns a directory with what the pages name by a path from the root.
func (c *cluster) prepare(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"config", "docs", "hack"} {
		if err := os.Symlink(filepath.Join(operator.Root(), name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c.must(t, dir, "kubectl delete webhookdeliveries,secrets,jobs --all")
	return dir
}

// do does with a block what its verdict says.
func (c *cluster) do(t *testing.T, dir string, b block) {
	t.Helper()
	if b.reason != "" {
		return
	}
	if b.isFile() {
		if err := os.WriteFile(filepath.Join(dir, b.name), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b.first != "" {
		c.mustIn(t, dir, b.line, b.first)
	}
	switch {
	case b.lang == "yaml":
		c.judge(t, dir, b)
	case b.lang == "console" && b.isRun():
		for _, command := range commands(b.text) {
			if printed := c.mustIn(t, dir, b.line, command.text); command.output != "" && !matches(command.output, printed) {
				t.Errorf("line %d: %s printed\n%sthe page shows\n%s", b.line, command.text, printed, command.output)
			}
		}
	case b.isRun():
		c.mustIn(t, dir, b.line, b.text)
	}
}

func (c *cluster) mustIn(t *testing.T, dir string, line int, script string) string {
	t.Helper()
	out, err := c.run(t, dir, script)
	if err != nil {
		t.Fatalf("line %d: %v\n%s\nprinted\n%s\nIf it cannot run here, write <!-- not run: why --> before the block.",
			line, err, script, out)
	}
	return out
}

func (c *cluster) must(t *testing.T, dir, script string) {
	t.Helper()
	if out, err := c.run(t, dir, script); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// run runs a script and returns all that it prints.
func (c *cluster) run(t *testing.T, dir, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-eu", "-c", script)
	cmd.Dir, cmd.Env = dir, c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it started
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, context.Cause(ctx))
}

// judge has the API server judge the objects of a block, which it does not store. A part of one is only parsed.
func (c *cluster) judge(t *testing.T, dir string, b block) {
	t.Helper()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(b.text)))
	for i := 0; ; i++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var content any
		if err == nil {
			err = yaml.UnmarshalStrict(document, &content)
		}
		if err != nil {
			t.Fatalf("line %d: %v", b.line, err)
		}
		fields, _ := content.(map[string]any)
		o := unstructured.Unstructured{Object: fields}
		if fields["resources"] != nil && o.GetKind() == "" {
			c.build(t, dir, b.line, string(document))
		}
		if o.GetAPIVersion() == "" || o.GetKind() == "" {
			continue
		}
		if other := o.GetNamespace(); other != "" {
			_, _ = c.run(t, dir, "kubectl create namespace "+other) // it may be there
		}
		path := filepath.Join(t.TempDir(), "object.yaml")
		if err := os.WriteFile(path, bytes.TrimSpace(document), 0o600); err != nil {
			t.Fatal(err)
		}
		verb := "apply --server-side --force-conflicts"
		if o.GetGenerateName() != "" {
			verb = "create"
		}
		c.mustIn(t, dir, b.line, "kubectl "+verb+" --dry-run=server --validate=strict -f "+path)
	}
}

var release = regexp.MustCompile(`https://github.com/webhookdelivery/operator//(\S+?)\?ref=\S+`)

// build applies a kustomization, without effect, with this checkout in place of the release that it names.
func (c *cluster) build(t *testing.T, dir string, line int, kustomization string) {
	t.Helper()
	at := t.TempDir()
	checkout, err := filepath.Rel(at, operator.Root())
	if err != nil {
		t.Fatal(err)
	}
	text := release.ReplaceAllString(kustomization, checkout+"/$1")
	if err := os.WriteFile(filepath.Join(at, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.mustIn(t, dir, line, "kubectl apply --server-side --force-conflicts --dry-run=server --validate=strict -k "+at)
}
