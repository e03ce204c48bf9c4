// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kubectl runs kubectl as the cluster's administrator, or as another user with the argument --kubeconfig, and returns
// what it wrote to its standard output. A failed run's error carries what kubectl wrote to its standard error.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.binDir, kubectl), args...)
	// HOME keeps the caller's ~/.kube (configuration, preferences and discovery cache) out of it.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.adminKubeconfig(), "HOME="+c.dir, "KUBECACHEDIR="+c.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Apply applies a kustomization (a directory with a kustomization.yaml), a directory of manifests or one manifest,
// server side, and waits until its CustomResourceDefinitions are served.
func (c *ControlPlane) Apply(ctx context.Context, path string) error {
	flag := "--filename"
	if _, err := os.Stat(filepath.Join(path, "kustomization.yaml")); err == nil {
		flag = "--kustomize"
	}
	out, err := c.Kubectl(ctx, "apply", "--server-side", "--output=name", flag, path)
	if err != nil {
		return err
	}
	wait := []string{"wait", "--for=condition=Established", "--timeout=30s"}
	crds := 0
	for name := range strings.FieldsSeq(out) {
		if strings.HasPrefix(name, "customresourcedefinition.") {
			wait = append(wait, name)
			crds++
		}
	}
	if crds == 0 {
		return nil
	}
	_, err = c.Kubectl(ctx, wait...)
	return err
}
