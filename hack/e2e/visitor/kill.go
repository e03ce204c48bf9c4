// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// kill sends SIGKILL to every process whose cgroups are those of the container. proc is where the process file system
// of the node is.
func kill(proc, containerID string) error {
	pids, err := processesOf(proc, containerID)
	if err != nil {
		return err
	}
	var failed []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			failed = append(failed, fmt.Errorf("process %d: %w", pid, err))
		}
	}
	return errors.Join(failed...)
}

// processesOf returns the processes of a container. It is an error if there are none.
func processesOf(proc, containerID string) (pids []int, err error) {
	const shortest = 12
	if len(containerID) < shortest {
		return nil, fmt.Errorf("%q is not the ID of a container", containerID)
	}
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cgroup"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		cgroups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(cgroups), containerID) {
			continue // one that has ended meanwhile, or another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("no process of container %s on this node", containerID)
	}
	return pids, nil
}
