// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// stopTimeout is longer than the manager's own graceful shutdown.
const stopTimeout = 50 * time.Second

// Child is a process whose output goes to a file, in a process group of its own so that Ctrl-C reaches only who started
// it.
type Child struct {
	cmd   *exec.Cmd
	told  atomic.Bool   // to end
	ended chan struct{} // closed once it has
	err   error         // how it ended; to be read after that
}

// StartChild starts a program. died, if not nil, is called if it ends without having been told to.
func StartChild(logPath string, died func(error), path string, args ...string) (*Child, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", path, err)
	}
	defer func() { _ = log.Close() }()                                        // the child has a copy
	c := &Child{cmd: exec.Command(path, args...), ended: make(chan struct{})} //nolint:noctx // stop and kill end it
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
		if !c.told.Load() && died != nil {
			died(fmt.Errorf("%s ended by itself: %s%s", path, c.cmd.ProcessState, Tail(logPath, 20)))
		}
	}()
	return c, nil
}

// signal sends a signal; it is no error if the process has ended.
func (c *Child) signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", c.cmd.Path, err)
	}
	return nil
}

// kill kills the process and returns when it has ended.
func (c *Child) kill() error {
	c.told.Store(true)
	err := c.signal(syscall.SIGKILL)
	<-c.ended
	return err
}

// Stop asks the process to end as Kubernetes does, kills it if it does not, and returns an error unless it ended with
// exit code 0. Of a process that has ended before it says nothing.
func (c *Child) Stop() error {
	select {
	case <-c.ended:
		return nil
	default:
	}
	c.told.Store(true)
	if err := c.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.ended:
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("%s did not end in time when it was asked to", c.cmd.Path), c.kill())
	}
	if c.err != nil {
		return fmt.Errorf("%s ended badly when it was asked to: %w", c.cmd.Path, c.err)
	}
	return nil
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
