// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/prometheus/procfs"
)

// usage is what processes have used of the processor since they started, in seconds.
type usage struct {
	manager, apiServer, etcd, harness float64
}

func (u usage) since(before usage) usage {
	return usage{
		manager: u.manager - before.manager, apiServer: u.apiServer - before.apiServer,
		etcd: u.etcd - before.etcd, harness: u.harness - before.harness,
	}
}

func (u usage) plus(other usage) usage {
	return usage{
		manager: u.manager + other.manager, apiServer: u.apiServer + other.apiServer,
		etcd: u.etcd + other.etcd, harness: u.harness + other.harness,
	}
}

func (u usage) ofManager() float64   { return u.manager }
func (u usage) ofAPIServer() float64 { return u.apiServer }
func (u usage) ofEtcd() float64      { return u.etcd }
func (u usage) ofHarness() float64   { return u.harness }
func (u usage) ofAll() float64       { return u.manager + u.apiServer + u.etcd + u.harness }

// usage returns what has been used so far. The harness is this process: generator, receiver and whatever else measures.
func (c *cluster) usage() (u usage, err error) {
	etcd, apiServer := c.plane.PIDs()
	if u.etcd, err = cpuSeconds(etcd); err != nil {
		return u, err
	}
	if u.apiServer, err = cpuSeconds(apiServer); err != nil {
		return u, err
	}
	if u.harness, err = cpuSeconds(os.Getpid()); err != nil {
		return u, err
	}
	if c.manager != nil {
		u.manager, err = cpuSeconds(c.manager.PID())
	}
	return u, err
}

// cpuSeconds returns the time that a process has used, of user and system, from /proc/[pid]/stat (proc(5)).
func cpuSeconds(pid int) (float64, error) {
	stat, err := procStat(pid)
	return stat.CPUTime(), err
}

// residentMiB returns the memory that a process holds now, from /proc/[pid]/stat.
func residentMiB(pid int) (float64, error) {
	stat, err := procStat(pid)
	return mebibytes(float64(stat.ResidentMemory())), err
}

// maxResidentMiB returns the most memory that a process has held, from /proc/[pid]/status.
func maxResidentMiB(pid int) (float64, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	return mebibytes(float64(status.VmHWM)), nil
}

func procStat(pid int) (procfs.ProcStat, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	stat, err := process.Stat()
	if err != nil {
		return stat, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	return stat, nil
}

func mebibytes(bytes float64) float64 { return bytes / (1 << 20) }
