// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	readyTimeout = 60 * time.Second
)

// Options say how to run a manager.
type Options struct {
	// Binary is the manager; empty means bin/manager, which Build makes.
	Binary string
	// Kubeconfig is what Install returned.
	Kubeconfig string
	// Args are flags beside those for the kubeconfig, leader election and addresses, which Start sets.
	Args []string
	// LogFile receives the output, after what it already holds.
	LogFile string
	// Died, if set, is called when the process ends without having been told to.
	Died func(error)
}

// Process is a running manager.
type Process struct {
	child   *Child
	log     string
	probes  string
	metrics string
}

// Binary is the path of the manager that Build makes.
func Binary() string { return filepath.Join(Root(), "bin", "manager") }

// Build builds bin/manager.
func Build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", Binary(), ".")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the manager: %w\n%s", err, output)
	}
	return nil
}

// Start runs a manager. It does not wait until the manager is ready.
func Start(ctx context.Context, o Options) (*Process, error) {
	p := &Process{log: o.LogFile}
	var err error
	if p.probes, err = FreeAddress(ctx); err != nil {
		return nil, err
	}
	if p.metrics, err = FreeAddress(ctx); err != nil {
		return nil, err
	}
	p.child, err = StartChild(o.LogFile, o.Died, cmp.Or(o.Binary, Binary()), append([]string{
		"--kubeconfig=" + o.Kubeconfig, "--leader-elect", "--leader-election-namespace=" + Namespace,
		"--health-probe-bind-address=" + p.probes, "--metrics-bind-address=" + p.metrics, "--metrics-secure=false",
	}, o.Args...)...)
	return p, err
}

// WaitReady returns when the manager says that it is ready: as a standby, or as a leader whose caches have synced.
func (p *Process) WaitReady(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, readyTimeout, true,
		func(ctx context.Context) (bool, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.probes+"/readyz", nil)
			if err != nil {
				return false, err
			}
			select {
			case <-p.child.ended:
				return false, errors.New("it has ended")
			default:
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false, nil // it does not listen yet
			}
			return resp.StatusCode == http.StatusOK, resp.Body.Close()
		})
	if err != nil {
		return fmt.Errorf("waiting until the manager is ready: %w%s", err, Tail(p.log, 20))
	}
	return nil
}

// MetricsURL is where the manager serves its metrics.
func (p *Process) MetricsURL() string { return "http://" + p.metrics + "/metrics" }

// ProbesURL is where the manager serves /healthz and /readyz.
func (p *Process) ProbesURL() string { return "http://" + p.probes }

// PID is the manager's process id.
func (p *Process) PID() int { return p.child.cmd.Process.Pid }

// Ended is closed when the manager has ended.
func (p *Process) Ended() <-chan struct{} { return p.child.ended }

// Signal sends a signal to the manager, and reports nothing if it has ended already.
func (p *Process) Signal(s syscall.Signal) error { return p.child.signal(s) }

// Kill kills the manager and returns when it has ended.
func (p *Process) Kill() error { return p.child.kill() }

// Stop asks the manager to end as Kubernetes does, kills it if it does not, and returns an error unless it ended well.
func (p *Process) Stop() error {
	if err := p.child.Stop(); err != nil {
		return fmt.Errorf("%w%s", err, Tail(p.log, 20))
	}
	return nil
}

// FreeAddress returns a loopback address, host and port, that nobody listens on.
func FreeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// Leads reports whether the manager says that it is the leader; false if it does not answer.
func (p *Process) Leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.MetricsURL(), nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return err == nil && leads.Match(body)
}

var leads = regexp.MustCompile(`(?m)^leader_election_master_status\{[^}]*\} 1$`)
