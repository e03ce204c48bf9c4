// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end when it is asked to.
const stopTimeout = 10 * time.Second

// process is a child process whose output goes to a file.
type process struct {
	name  string
	end   context.CancelFunc
	ended chan struct{} // closed once it has
	err   error         // how it ended; to be read after that
}

// start starts a program, in a process group of its own so that Ctrl-C reaches this process only, which stops it in its
// turn. died is called if it ends before it is stopped.
func start(logPath string, died func(error), path string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has a copy
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout // then SIGKILL
	if err := cmd.Start(); err != nil {
		end()
		return nil, err
	}
	p := &process{name: path, end: end, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		asked := ctx.Err() != nil
		close(p.ended)
		if !asked {
			died(fmt.Errorf("%s ended by itself: %s", path, cmd.ProcessState))
		}
	}()
	return p, nil
}

// stop asks the process to end, kills it if it does not, and returns an error unless it has ended with exit code 0. It
// may be called more than once; of a process that ended by itself it says nothing.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	p.end()
	<-p.ended
	if p.err == nil || errors.Is(p.err, context.Canceled) {
		return nil // that is how package os/exec puts a success after Cancel
	}
	return fmt.Errorf("%s did not end well when it was asked to: %w", p.name, p.err)
}

// tail returns the last lines of the file, as an appendix to an error message; nothing if there are none.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	text = bytes.TrimSpace(text)
	if err != nil || len(text) == 0 {
		return ""
	}
	all := bytes.Split(text, []byte("\n"))
	return fmt.Sprintf("\n\nThe end of %s:\n%s", path, bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
