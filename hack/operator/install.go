// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package operator installs what config ships into a local control plane and runs the real manager binary as a process
// of its own, with the rights of the shipped service account and no more.
package operator

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/webhookdelivery/operator/hack/controlplane"
)

const (
	// Namespace is where the operator lives.
	Namespace = "webhook-delivery-system"
	name      = "webhook-delivery-operator"
)

// shipped is config/default without the Deployment: nothing on a bare control plane would run its pods.
var shipped = []string{"manager/namespace.yaml", "crd", "rbac", "policy", "flowcontrol"}

// Root is the directory of the repository.
func Root() string { return filepath.Join(controlplane.BinDir(), "..", "..") }

// WithJobs is the overlay with the rights that the flag --jobs needs, for Install.
const WithJobs = "overlays/with-jobs"

// Install applies what config/default ships, but for the Deployment, and then the named overlays of config as they are.
// It returns the path of a kubeconfig with the rights of the operator's service account once the API server has taken
// note of them.
func Install(
	ctx context.Context, plane *controlplane.ControlPlane, overlays ...string,
) (kubeconfig string, err error) {
	for _, path := range slices.Concat(shipped, overlays) {
		if err := plane.Apply(ctx, filepath.Join(Root(), "config", path)); err != nil {
			return "", err
		}
	}
	user, err := plane.User("system:serviceaccount:"+Namespace+":"+name,
		"system:serviceaccounts", "system:serviceaccounts:"+Namespace)
	if err != nil {
		return "", err
	}
	kubeconfig, err = plane.Kubeconfig(user)
	if err != nil {
		return "", err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 20*time.Second, true,
		func(ctx context.Context) (bool, error) {
			_, err := plane.Kubectl(ctx, "auth", "can-i", "watch", "webhookdeliveries.webhookdelivery.dev",
				"--all-namespaces", "--kubeconfig", kubeconfig)
			return err == nil, nil
		})
	if err != nil {
		return "", fmt.Errorf("config/rbac does not let the operator watch deliveries: %w", err)
	}
	return kubeconfig, nil
}
