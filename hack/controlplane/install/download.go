// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// indexTimeout is short, as many networks drop what they do not allow.
	indexTimeout    = 10 * time.Second
	downloadTimeout = 5 * time.Minute
)

// download gets the binaries that envtest publishes, by its own tool, which verifies their checksums.
func download(ctx context.Context, o options, want versions, scratch string) (dir, source string, err error) {
	tool, err := filepath.Abs(filepath.Join(scratch, "setup-envtest"))
	if err != nil {
		return "", "", err
	}
	say("building setup-envtest, to look for binaries to download")
	cmd := goCommand(ctx, o.toolsDir, "build", "-trimpath", "-buildvcs=false", "-o", tool,
		"sigs.k8s.io/controller-runtime/tools/setup-envtest")
	if err := runWithProgress(cmd); err != nil {
		return "", "", fmt.Errorf("building setup-envtest: %w", err)
	}
	args := []string{"--bin-dir", filepath.Join(scratch, "envtest")}
	if o.index != "" {
		args = append(args, "--index", o.index)
	}

	say("looking for binaries to download, for %s at most", indexTimeout)
	major, minor := want.minor()
	list, err := output(ctx, indexTimeout, tool, append(args, "list", major+"."+minor+".x")...)
	if err != nil {
		return "", "", err
	}
	version, ok := choose(list, want.kubernetes)
	if !ok {
		return "", "", fmt.Errorf("neither %s nor its minor version's first release is published", want.kubernetes)
	}
	say("downloading %s, for %s at most", version, downloadTimeout)
	path, err := output(ctx, downloadTimeout, tool, append(args, "use", version, "--print", "path")...)
	return strings.TrimSpace(path), "downloaded envtest " + version, err
}

// choose picks a version from what `setup-envtest list` prints (lines such as "(available)  v1.37.0  linux/amd64"): the
// wanted one or, as patch releases are seldom published, the first of its minor version. Nothing else, so that the
// choice does not change with the day.
func choose(list, want string) (string, bool) {
	fields := strings.Fields(list)
	first := want[:strings.LastIndex(want, ".")] + ".0"
	for _, version := range []string{want, first} {
		if slices.Contains(fields, version) {
			return strings.TrimPrefix(version, "v"), true
		}
	}
	return "", false
}

// output returns what a command writes to its standard output. An error carries what it writes to its standard error.
func output(ctx context.Context, timeout time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer for %s", timeout))
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %s", filepath.Base(name), strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
