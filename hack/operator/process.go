// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
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
	// stopTimeout is longer than the manager's own graceful shutdown.
	stopTimeout = 50 * time.Second
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
	options Options
	cmd     *exec.Cmd
	ended   chan struct{}
	told    chan struct{}
	err     error
	probes  string
	metrics string
}

// Build builds bin/manager.
func Build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join("bin", "manager"), ".")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the manager: %w\n%s", err, output)
	}
	return nil
}

// Start runs a manager in a process group of its own, so that Ctrl-C reaches only who started it. It does not wait until
// the manager is ready.
func Start(ctx context.Context, o Options) (*Process, error) {
	if o.Binary == "" {
		o.Binary = filepath.Join(Root(), "bin", "manager")
	}
	p := &Process{options: o, ended: make(chan struct{}), told: make(chan struct{}, 1)}
	var err error
	if p.probes, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if p.metrics, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }()              // the child has a copy
	p.cmd = exec.Command(o.Binary, append([]string{ //nolint:noctx // it is ended by Stop or Kill, as a test wants it
		"--kubeconfig=" + o.Kubeconfig, "--leader-elect", "--leader-election-namespace=" + Namespace,
		"--health-probe-bind-address=" + p.probes, "--metrics-bind-address=" + p.metrics, "--metrics-secure=false",
	}, o.Args...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the manager: %w", err)
	}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.ended)
	select {
	case <-p.told:
	default:
		if p.options.Died != nil {
			p.options.Died(fmt.Errorf("the manager ended by itself: %s%s", p.cmd.ProcessState, Tail(p.options.LogFile, 20)))
		}
	}
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
			case <-p.ended:
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
		return fmt.Errorf("waiting until the manager is ready: %w%s", err, Tail(p.options.LogFile, 20))
	}
	return nil
}

// MetricsURL is where the manager serves its metrics.
func (p *Process) MetricsURL() string { return "http://" + p.metrics + "/metrics" }

// PID is the manager's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the manager has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal to the manager, and reports nothing if it has ended already.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling the manager: %w", err)
	}
	return nil
}

// Kill kills the manager and returns when it has ended.
func (p *Process) Kill() error {
	p.expectEnd()
	err := p.Signal(syscall.SIGKILL)
	<-p.ended
	return err
}

// Stop asks the manager to end as Kubernetes does, kills it if it does not, and returns an error unless it ended well.
func (p *Process) Stop() error {
	p.expectEnd()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		return errors.Join(errors.New("the manager did not end in time"), p.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("the manager ended badly: %w%s", p.err, Tail(p.options.LogFile, 20))
	}
	return nil
}

func (p *Process) expectEnd() {
	select {
	case p.told <- struct{}{}:
	default:
	}
}

// Tail returns the last lines of a file as an appendix to an error message; nothing if there are none.
func Tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	text = bytes.TrimSpace(text)
	if err != nil || len(text) == 0 {
		return ""
	}
	all := bytes.Split(text, []byte("\n"))
	return fmt.Sprintf("\n\nThe end of %s:\n%s", path, bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
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
