// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real etcd and a real kube-apiserver on the loopback interface, with RBAC on, for tests,
// the demo, benchmarks and fault injection. The binaries come from `make controlplane`.
//
// There is no scheduler, no controller manager and no kubelet: Pods stay Pending, Deployments make no ReplicaSets and
// deleted owners leave their dependents behind. The ServiceAccount admission plugin is off, as nothing would create the
// default accounts. It runs on Linux and macOS.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	etcd      = "etcd"
	apiServer = "kube-apiserver"
	kubectl   = "kubectl"
)

const defaultStartTimeout = time.Minute

// Options are the choices a caller of Start has. The zero value is what most tests want.
type Options struct {
	// Dir is the directory that the scratch directory is made in; empty means the system's temporary directory.
	Dir string
	// Fsync makes etcd write to disk as in production. Without it writes are quicker than any real cluster's.
	Fsync bool
	// APIServerArgs are kube-apiserver flags without the leading dashes; each replaces that flag's default.
	APIServerArgs map[string][]string
	// AuditLog is a file to which every request is logged when it is answered (level Metadata); empty means no log.
	AuditLog string
	// StartTimeout bounds the start of each of the two processes; 0 means one minute.
	StartTimeout time.Duration
}

// ControlPlane is a running etcd and kube-apiserver. Its methods may be called from several goroutines.
type ControlPlane struct {
	dir      string
	binDir   string
	admin    *rest.Config
	watchdog *watchdog
	logs     []*os.File

	mu  sync.Mutex // guards env, whose methods do not lock
	env *envtest.Environment
}

// Start starts etcd and kube-apiserver on free loopback ports and returns when the API server is healthy, which takes
// about five seconds. The processes end with Stop or, whatever the cause, with this process.
//
// It fails if the binaries are missing, if a process does not become healthy in time (the error then carries the end of
// its log), or if ctx ends first.
func Start(ctx context.Context, opts Options) (*ControlPlane, error) {
	binDir := BinDir()
	for _, name := range []string{etcd, apiServer, kubectl} {
		if _, err := os.Stat(filepath.Join(binDir, name)); err != nil {
			return nil, fmt.Errorf("control plane binaries are missing, run `make controlplane`: %w", err)
		}
	}
	dir, err := os.MkdirTemp(opts.Dir, "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	c := &ControlPlane{dir: dir, binDir: binDir}
	if err := c.start(ctx, opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, opts Options) error {
	var err error
	if c.watchdog, err = startWatchdog(c.dir); err != nil {
		return err
	}
	if c.env, err = c.environment(opts); err != nil {
		return err
	}
	// envtest takes no context. With its directory gone and its processes killed, its attempts end at once.
	disarm := context.AfterFunc(ctx, func() { _ = c.killAll() })
	defer disarm()
	cfg, err := c.env.Start()
	if ctx.Err() != nil {
		_ = c.env.Stop() // what slipped through; complains about what did not
		return fmt.Errorf("starting the control plane: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("starting the control plane: %w%s", err, c.logTails())
	}
	c.admin = unlimited(cfg)
	if err := writeKubeconfig(c.adminKubeconfig(), c.admin); err != nil {
		return err
	}
	return c.watchdog.watch(c.PIDs())
}

// environment translates opts for envtest. Every path is ours, so nothing outlives the scratch directory and a
// restarted process finds its data and certificates again.
func (c *ControlPlane) environment(opts Options) (*envtest.Environment, error) {
	timeout := opts.StartTimeout
	if timeout == 0 {
		timeout = defaultStartTimeout
	}
	env := &envtest.Environment{ControlPlaneStartTimeout: timeout, ControlPlaneStopTimeout: killTimeout}
	env.ControlPlane.KubectlPath = filepath.Join(c.binDir, kubectl)

	etcdProcess := &envtest.Etcd{DataDir: filepath.Join(c.dir, "etcd-data")}
	env.ControlPlane.Etcd = etcdProcess
	if opts.Fsync {
		etcdProcess.Configure().Disable("unsafe-no-fsync")
	}
	server := env.ControlPlane.GetAPIServer()
	server.CertDir = filepath.Join(c.dir, "certs")
	server.Configure().
		// Without these two the API server needs a routable address, and writes endpoints every ten seconds.
		Set("advertise-address", "127.0.0.1").
		Set("endpoint-reconciler-type", "none")
	if opts.AuditLog != "" {
		policy, err := c.auditPolicy()
		if err != nil {
			return nil, err
		}
		server.Configure().Set("audit-policy-file", policy).Set("audit-log-path", opts.AuditLog).
			Set("audit-log-mode", "blocking")
	}
	for name, values := range opts.APIServerArgs {
		server.Configure().Set(name, values...)
	}
	if err := os.Mkdir(server.CertDir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if etcdProcess.Path, etcdProcess.Out, err = c.wrap(etcd); err != nil {
		return nil, err
	}
	if server.Path, server.Out, err = c.wrap(apiServer); err != nil {
		return nil, err
	}
	etcdProcess.Err, server.Err = etcdProcess.Out, server.Out
	return env, nil
}

func (c *ControlPlane) auditPolicy() (string, error) {
	path := filepath.Join(c.dir, "audit-policy.yaml")
	const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`
	return path, os.WriteFile(path, []byte(policy), 0o600)
}

// Stop kills both processes and removes the scratch directory. It may be called more than once.
func (c *ControlPlane) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := []error{c.killAll(), c.watchdog.stop()}
	for _, log := range c.logs {
		errs = append(errs, log.Close())
	}
	c.logs = nil
	return errors.Join(errs...)
}

// Dir is the scratch directory: logs (etcd.log, kube-apiserver.log), certificates, etcd's data. Stop removes it.
func (c *ControlPlane) Dir() string { return c.dir }

// URL is the API server's address; it stays the same when the API server is restarted.
func (c *ControlPlane) URL() *url.URL {
	return c.env.ControlPlane.APIServer.SecureServing.URL("https", "/")
}

// BinDir is bin/k8s under the root of the module that holds the working directory. It may not exist yet.
func BinDir() string {
	root, err := os.Getwd()
	if err != nil {
		return filepath.Join("bin", "k8s")
	}
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "bin", "k8s")
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(root, "bin", "k8s")
		}
	}
}
