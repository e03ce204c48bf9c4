// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const killTimeout = 10 * time.Second

// PIDs returns the process ids of etcd and kube-apiserver, 0 for one that is not running.
func (c *ControlPlane) PIDs() (etcdPID, apiServerPID int) {
	return c.pid(etcd), c.pid(apiServer)
}

// KillAPIServer kills the API server as a crash would (SIGKILL) and returns when it is gone. etcd goes on.
func (c *ControlPlane) KillAPIServer() error { return c.kill(apiServer) }

// KillEtcd kills etcd as a crash would (SIGKILL) and returns when it is gone. Its data stays; the API server goes on
// and answers errors.
func (c *ControlPlane) KillEtcd() error { return c.kill(etcd) }

// StartAPIServer starts a killed API server again, on the same port and with the same certificates, and returns when it
// is healthy. Users' configurations stay valid.
func (c *ControlPlane) StartAPIServer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.env.ControlPlane.APIServer.Start(); err != nil {
		return fmt.Errorf("restarting %s: %w%s", apiServer, err, c.logTail(apiServer))
	}
	return c.watchdog.watch(c.PIDs())
}

// StartEtcd starts a killed etcd again, on the same port and with the same data, and returns when it is healthy. The
// API server may need some seconds more to reconnect.
func (c *ControlPlane) StartEtcd() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.env.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("restarting %s: %w%s", etcd, err, c.logTail(etcd))
	}
	return c.watchdog.watch(c.PIDs())
}

// wrap writes a script that notes its process id in a file and then becomes the named binary: envtest does not tell the
// ids of the processes it starts. It returns the script's path and the file that the process logs to.
func (c *ControlPlane) wrap(name string) (string, io.Writer, error) {
	script := filepath.Join(c.dir, name)
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --help ] || echo $$ >%s\nexec %s \"$@\"\n",
		shellQuote(c.pidFile(name)), shellQuote(filepath.Join(c.binDir, name)))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil { //nolint:gosec // a script must be executable
		return "", nil, err
	}
	log, err := os.OpenFile(c.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", nil, err
	}
	c.logs = append(c.logs, log)
	return script, log, nil
}

func (c *ControlPlane) pidFile(name string) string { return filepath.Join(c.dir, name+".pid") }
func (c *ControlPlane) logFile(name string) string { return filepath.Join(c.dir, name+".log") }

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (c *ControlPlane) pid(name string) int {
	text, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !alive(pid) {
		return 0
	}
	return pid
}

// kill returns when the process is gone and its port is free. Nothing running under that name is no error.
func (c *ControlPlane) kill(name string) error {
	pid := c.pid(name)
	if pid == 0 {
		return nil
	}
	// Each process leads a group of its own (envtest starts it so), hence the minus.
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", name, err)
	}
	for deadline := time.Now().Add(killTimeout); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s (process %d) is still there %s after SIGKILL", name, pid, killTimeout)
		}
	}
	if err := os.Remove(c.pidFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return c.watchdog.watch(c.PIDs())
}

// alive also holds for a process that ended but has not been waited for; envtest waits for its processes.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func (c *ControlPlane) killAll() error {
	return errors.Join(c.kill(apiServer), c.kill(etcd), os.RemoveAll(c.dir))
}

func (c *ControlPlane) logTails() string { return c.logTail(etcd) + c.logTail(apiServer) }

// logTail returns the last lines a process logged, as an appendix to an error message.
func (c *ControlPlane) logTail(name string) string {
	const most = 1500
	text, err := os.ReadFile(c.logFile(name))
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return ""
	}
	return fmt.Sprintf("\n%s ended its log with:\n%s", name, text[max(0, len(text)-most):])
}
