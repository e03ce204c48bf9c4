// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// watchdog kills the control plane when this process ends without having called Stop, be it by SIGKILL or by a test's
// time-out. It is a shell that reads from a pipe whose only writer is this process.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// The last line read names the processes; it outlasts their directory, which a test may remove with its own. The files
// name those that were still starting.
const watchdogScript = `
while read -r line; do pids=$line; done
cd "$1" 2>/dev/null && pids="$pids $(cat ./*.pid 2>/dev/null)"
for pid in $pids; do
	if [ "$pid" -gt 1 ]; then kill -s KILL -- "-$pid" 2>/dev/null; fi
done
cd "$1" 2>/dev/null || exit 0
sleep 1
rm -rf "$1"
`

func startWatchdog(dir string) (*watchdog, error) {
	// No context ends it: it shall outlive whatever ends here.
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", watchdogScript, "controlplane-watchdog", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that Ctrl-C does not reach it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}
	return &watchdog{cmd: cmd, pipe: pipe}, nil
}

// watch tells which processes there are now, each the leader of a group; 0 stands for none.
func (w *watchdog) watch(etcdPID, apiServerPID int) error {
	if _, err := fmt.Fprintln(w.pipe, etcdPID, apiServerPID); err != nil {
		return fmt.Errorf("talking to the watchdog: %w", err)
	}
	return nil
}

// stop ends the watchdog. By then nothing is left for it to do.
func (w *watchdog) stop() error {
	if w == nil || w.cmd.ProcessState != nil {
		return nil
	}
	_ = w.pipe.Close() // Wait reports what matters
	return w.cmd.Wait()
}
