// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/webhookdelivery/operator/hack/controlplane"
)

func start(t *testing.T, opts controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	opts.Dir = t.TempDir()
	c, err := controlplane.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func clientset(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func alive(pid int) bool { return pid != 0 && syscall.Kill(pid, 0) == nil }

func eventually(t *testing.T, what string, condition func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// fsyncs tells whether etcd was started to write to disk: it logs its flags.
func fsyncs(t *testing.T, c *controlplane.ControlPlane) bool {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(c.Dir(), "etcd.log"))
	if err != nil || !strings.Contains(string(log), "--data-dir=") {
		t.Fatalf("etcd's log does not tell its flags (%v): %s", err, log)
	}
	return !strings.Contains(string(log), "--unsafe-no-fsync")
}

func TestRBACDecides(t *testing.T) {
	c := start(t, controlplane.Options{})
	ctx := t.Context()
	if fsyncs(t, c) {
		t.Error("etcd writes to disk though nobody asked it to")
	}

	const serviceAccount = "system:serviceaccount:default:reader"
	cfg, err := c.User(serviceAccount, "system:serviceaccounts", "system:serviceaccounts:default")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.QPS != -1 || c.Config().QPS != -1 {
		t.Errorf("QPS is %v and %v, want no client-side limit", cfg.QPS, c.Config().QPS)
	}
	user := clientset(t, cfg)
	if _, err := user.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("a user without rights got %v, want Forbidden", err)
	}
	manifest := filepath.Join(t.TempDir(), "rbac.yaml")
	err = os.WriteFile(manifest, []byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [secrets], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(ctx, manifest); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role binding works", func(ctx context.Context) bool {
		_, err := user.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
	if _, err := user.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a role binding reached into another namespace: %v", err)
	}
}

func TestKubectl(t *testing.T) {
	c := start(t, controlplane.Options{})
	ctx := t.Context()
	before, err := c.Requests(ctx)
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	for name, text := range map[string]string{
		"kustomization.yaml": "namePrefix: with-\nresources: [map.yaml]\n",
		"map.yaml":           "{apiVersion: v1, kind: ConfigMap, metadata: {name: prefix, namespace: default}}",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Apply(ctx, dir); err != nil {
		t.Fatal(err)
	}
	out, err := c.Kubectl(ctx, "get", "configmaps", "--namespace=default", "--output=name")
	if err != nil || out != "configmap/with-prefix\n" {
		t.Errorf("kubectl get: %q, %v", out, err)
	}
	if _, err := c.Kubectl(ctx, "get", "configmap", "absent"); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("kubectl's own words are missing from %v", err)
	}

	cfg, err := c.User("nobody")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := c.Kubeconfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(kubeconfig)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v, want mode 0600", info.Mode(), err)
	}
	out, err = c.Kubectl(ctx, "auth", "whoami", "--output=jsonpath={.status.userInfo.username}",
		"--kubeconfig", kubeconfig)
	if err != nil || out != "nobody" {
		t.Errorf("kubectl auth whoami: %q, %v", out, err)
	}

	after, err := c.Requests(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"APPLY configmaps": 1, "LIST configmaps": 1, "GET configmaps": 1}
	got := map[string]float64{}
	for key := range want {
		got[key] = after[key] - before[key]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests counted (-want +got):\n%s\nall: %v", diff, after)
	}
}

func TestDataSurvivesCrashes(t *testing.T) {
	audit := filepath.Join(t.TempDir(), "audit.log")
	c := start(t, controlplane.Options{Fsync: true, AuditLog: audit})
	ctx := t.Context()
	maps := clientset(t, c.Config()).CoreV1().ConfigMaps("default")
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := maps.Create(ctx, kept, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(audit); err != nil || !strings.Contains(string(log), `"name":"kept"`) {
		t.Errorf("the audit log lacks the request (%v)", err)
	}
	if !fsyncs(t, c) {
		t.Error("etcd does not write to disk")
	}
	etcd, server := c.PIDs()
	if !alive(etcd) || !alive(server) {
		t.Fatalf("processes %d and %d should be alive", etcd, server)
	}

	if err := c.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	if sameEtcd, gone := c.PIDs(); gone != 0 || alive(server) || sameEtcd != etcd {
		t.Errorf("after killing the API server: processes %d, %d", sameEtcd, gone)
	}
	if conn, err := net.Dial("tcp", c.URL().Host); err == nil {
		_ = conn.Close()
		t.Error("a killed API server still accepts connections")
	}
	if err := c.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(ctx, "kept", metav1.GetOptions{}); err != nil {
		t.Fatalf("after the API server's restart, with the same client: %v", err)
	}

	if err := c.KillEtcd(); err != nil {
		t.Fatal(err)
	}
	if gone, sameServer := c.PIDs(); gone != 0 || alive(etcd) || sameServer == 0 {
		t.Errorf("after killing etcd: processes %d, %d", gone, sameServer)
	}
	if err := c.StartEtcd(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server reads from etcd again", func(ctx context.Context) bool {
		_, err := maps.Get(ctx, "kept", metav1.GetOptions{})
		return err == nil
	})
}

func TestStopLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c, err := controlplane.Start(t.Context(), controlplane.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	etcd, server := c.PIDs()
	for range 2 {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
	if alive(etcd) || alive(server) {
		t.Errorf("processes %d and %d: alive %v and %v", etcd, server, alive(etcd), alive(server))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartTellsWhatIsWrong(t *testing.T) {
	t.Run("a wrong flag", func(t *testing.T) {
		dir := t.TempDir()
		_, err := controlplane.Start(t.Context(), controlplane.Options{
			Dir:           dir,
			APIServerArgs: map[string][]string{"no-such-flag": {"1"}},
		})
		if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
			t.Errorf("kube-apiserver's own words are missing from %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("no binaries", func(t *testing.T) {
		t.Chdir(t.TempDir())
		_, err := controlplane.Start(t.Context(), controlplane.Options{})
		if err == nil || !strings.Contains(err.Error(), "make controlplane") {
			t.Errorf("the way out is missing from %v", err)
		}
	})
	t.Run("no time", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := controlplane.Start(ctx, controlplane.Options{
			Dir:           dir,
			APIServerArgs: map[string][]string{"etcd-servers": {"http://127.0.0.1:1"}}, // would try for a minute
		})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 15*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// TestSurvivorsAreKilled runs this test binary again, lets it start a control plane, and kills it. Whether the scratch
// directory is still there must make no difference.
func TestSurvivorsAreKilled(t *testing.T) {
	const asChild = "CONTROLPLANE_TEST_DIR"
	if dir := os.Getenv(asChild); dir != "" {
		c, err := controlplane.Start(t.Context(), controlplane.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		etcd, server := c.PIDs()
		fmt.Println("pids", etcd, server)
		select {}
	}

	for name, loseDir := range map[string]bool{"killed": false, "killed without its directory": true} {
		t.Run(name, func(t *testing.T) { killChild(t, asChild, loseDir) })
	}
}

func killChild(t *testing.T, asChild string, loseDir bool) {
	dir := filepath.Join(t.TempDir(), "child")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSurvivorsAreKilled$")
	child.Env = append(os.Environ(), asChild+"="+dir)
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var etcd, server int
	if _, err := fmt.Fscanf(stdout, "pids %d %d\n", &etcd, &server); err != nil {
		t.Fatal(err)
	}
	if !alive(etcd) || !alive(server) {
		t.Fatalf("processes %d and %d should be alive", etcd, server)
	}
	if loseDir { // more certain to succeed than removing what is in use
		if err := os.Rename(dir, dir+"-lost"); err != nil {
			t.Fatal(err)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	eventually(t, "etcd, kube-apiserver and the scratch directory are gone", func(context.Context) bool {
		left, err := os.ReadDir(dir)
		return (loseDir || err == nil) && len(left) == 0 && !alive(etcd) && !alive(server)
	})
}
