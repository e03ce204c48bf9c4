// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
)

// versions are module versions, such as v1.37.2.
type versions struct{ kubernetes, etcd string }

func (v versions) String() string {
	return fmt.Sprintf("etcd %s, kube-apiserver and kubectl %s", v.etcd, v.kubernetes)
}

// minor returns the first two numbers of the Kubernetes version.
func (v versions) minor() (major, minor string) {
	parts := strings.Split(strings.TrimPrefix(v.kubernetes, "v"), ".")
	return parts[0], parts[1]
}

// pinnedVersions reads the versions that the go.mod in dir requires.
func pinnedVersions(ctx context.Context, dir string) (versions, error) {
	out, err := goCommand(ctx, dir, "mod", "edit", "-json").Output()
	if err != nil {
		return versions{}, fmt.Errorf("reading %s/go.mod: %w", dir, err)
	}
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return versions{}, fmt.Errorf("reading %s/go.mod: %w", dir, err)
	}
	required := map[string]string{}
	for _, r := range mod.Require {
		required[r.Path] = r.Version
	}
	v := versions{kubernetes: required[kubernetesModule], etcd: required[etcdModule]}
	if strings.Count(v.kubernetes, ".") < 2 || v.etcd == "" {
		return versions{}, fmt.Errorf("%s/go.mod must require %s and %s", dir, kubernetesModule, etcdModule)
	}
	return v, nil
}
