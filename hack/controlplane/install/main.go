// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command install puts etcd, kube-apiserver and kubectl into a directory: downloaded as envtest publishes them, or,
// where that download does not work, built from Go modules. hack/controlplane/build/go.mod says which versions. Once
// they are there, it does nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// binaries are the names of what is installed.
var binaries = []string{"etcd", "kube-apiserver", "kubectl"}

// markerName is the file that is written last and tells which versions the directory holds.
const markerName = ".versions"

type options struct {
	dir      string // where the binaries go
	buildDir string // the module whose go.mod pins and whose packages build them
	toolsDir string // the module that pins setup-envtest
	index    string // setup-envtest's index, empty for its own default
	download bool   // whether to try the download
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "bin/k8s", "directory to install into")
	flag.StringVar(&o.buildDir, "build", "hack/controlplane/build", "module that pins and builds the binaries")
	flag.StringVar(&o.toolsDir, "tools", "hack/tools", "module that pins setup-envtest")
	flag.StringVar(&o.index, "index", "", "URL of another index of envtest's releases, such as a mirror")
	flag.BoolVar(&o.download, "download", true, "try the download before building")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		say("%v", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	want, err := pinnedVersions(ctx, o.buildDir)
	if err != nil {
		return err
	}
	if installed(o.dir, want) {
		say("%s holds %s", o.dir, want)
		return nil
	}
	start := time.Now()
	say("getting %s for %s", want, o.dir)
	if err := os.MkdirAll(filepath.Dir(o.dir), 0o750); err != nil {
		return err
	}
	// On the same file system as the target, so that a rename can install what is complete.
	scratch, err := os.MkdirTemp(filepath.Dir(o.dir), "controlplane.tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // it is scratch
	from, source, err := get(ctx, o, want, scratch)
	if err != nil {
		return err
	}
	if err := install(from, o.dir, want.String()+"\n"+source+"\n"); err != nil {
		return err
	}
	say("done in %s: %s", round(time.Since(start)), source)
	return nil
}

// get returns a directory that holds the binaries, and where they came from.
func get(ctx context.Context, o options, want versions, scratch string) (dir, source string, err error) {
	if o.download {
		dir, source, err = download(ctx, o, want, scratch)
		if err == nil || ctx.Err() != nil {
			return dir, source, err
		}
		say("no download: %v", err)
	}
	return build(ctx, o.buildDir, want, scratch)
}

// installed tells whether dir holds all binaries in the wanted versions.
func installed(dir string, want versions) bool {
	marker, err := os.ReadFile(filepath.Join(dir, markerName))
	if err != nil {
		return false
	}
	if line, _, _ := strings.Cut(string(marker), "\n"); line != want.String() {
		return false
	}
	for _, name := range binaries {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// install moves the binaries from one directory to another. Processes that run an older binary are not disturbed, and
// an interruption is noticed the next time, as the marker goes first and comes last.
func install(from, to, marker string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(to, markerName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range binaries {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(to, markerName), []byte(marker), 0o600)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "controlplane: "+format+"\n", args...)
}
