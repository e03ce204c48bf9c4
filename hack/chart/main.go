// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart makes the Helm chart out of what kustomize builds from config, so that the two cannot differ: what a
// component of config adds or takes away becomes a condition in a template, and what can be set becomes a value.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

type options struct {
	config    string // the directory of the manifests
	files     string // the directory of the chart's other files
	kustomize string // the program
	out       string // the directory to replace by the chart
	modified  int64
}

func main() {
	var o options
	flag.StringVar(&o.config, "config", "config", "directory of the kustomizations")
	flag.StringVar(&o.files, "files", "hack/chart/files", "directory of what is not made, such as values.yaml")
	flag.StringVar(&o.kustomize, "kustomize", "bin/tools/kustomize", "the program kustomize")
	flag.StringVar(&o.out, "out", "bin/chart/webhook-delivery-operator", "directory to replace by the chart")
	flag.Int64Var(&o.modified, "modified", 0, "the time of all files, in seconds since 1970: a package of them keeps it")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	chart, err := generate(o)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	if err := os.CopyFS(o.out, os.DirFS(o.files)); err != nil {
		return err
	}
	for name, text := range chart {
		if err := os.WriteFile(filepath.Join(o.out, "templates", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return touch(o.out, time.Unix(o.modified, 0))
}

// touch makes all files of a directory readable and gives them one time.
func touch(dir string, at time.Time) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written through it
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if err := root.Chmod(path, 0o644); err != nil {
			return err
		}
		return root.Chtimes(path, at, at)
	})
}
