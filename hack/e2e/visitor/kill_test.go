// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const container = "0f2c5d1e8f6b4e0e9a530d1f6f2f9f5e0f2c5d1e8f6b4e0e9a530d1f6f2f9f5e"

// fakeProc has a process for each pair of number and cgroups.
func fakeProc(t *testing.T, cgroups map[int]string) string {
	t.Helper()
	proc := t.TempDir()
	for pid, text := range cgroups {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "cgroup"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestProcessesOf(t *testing.T) {
	tests := map[string]struct {
		cgroups map[int]string
		id      string
		want    []int
		err     string
	}{
		"cgroup v1": {
			cgroups: map[int]string{7: "4:memory:/kubepods/burstable/pod1/" + container + "\n", 8: "4:memory:/\n"},
			id:      container, want: []int{7},
		},
		"cgroup v2 seen from another container": {
			cgroups: map[int]string{9: "0::/../../kubepods-pod1.slice/cri-containerd-" + container + ".scope\n"},
			id:      container, want: []int{9},
		},
		"gone":        {cgroups: map[int]string{8: "0::/init.scope\n"}, id: container, err: "no process"},
		"everyone's":  {cgroups: map[int]string{8: "0::/init.scope\n"}, id: "", err: "not the ID"},
		"the machine": {cgroups: map[int]string{8: "0::/init.scope\n"}, id: "/", err: "not the ID"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := processesOf(fakeProc(t, tc.cgroups), tc.id)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// A process that would sleep for an hour ends by SIGKILL.
func TestKill(t *testing.T) {
	sleeper := exec.CommandContext(t.Context(), "sleep", "3600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := kill(fakeProc(t, map[int]string{sleeper.Process.Pid: "0::/" + container}), container); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := sleeper.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
}

func TestExit(t *testing.T) {
	for code := range 3 {
		if got, err := run([]string{"exit", strconv.Itoa(code)}); got != code || err != nil {
			t.Errorf("exit %d: %d, %v", code, got, err)
		}
	}
	if got, err := run([]string{"stay"}); got == 0 || err == nil {
		t.Errorf("an unknown command: %d, %v", got, err)
	}
}
