// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Config returns a copy of the cluster administrator's configuration, without a client-side rate limit.
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.admin) }

// User returns the configuration of a user authenticated by a client certificate of that name and those groups, without
// a client-side rate limit. RBAC decides what the user may do: at first, next to nothing. A name such as
// "system:serviceaccount:NAMESPACE:NAME" with the groups "system:serviceaccounts" and
// "system:serviceaccounts:NAMESPACE" has the rights of that service account.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	user, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for user %q: %w", name, err)
	}
	return unlimited(user.Config()), nil
}

func unlimited(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = -1, 0
	return cfg
}

// Kubeconfig writes cfg as a kubeconfig file that only this user can read and returns its path. The file is in the
// scratch directory, which Stop removes.
func (c *ControlPlane) Kubeconfig(cfg *rest.Config) (string, error) {
	file, err := os.CreateTemp(c.dir, "*.kubeconfig")
	if err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return file.Name(), errors.Join(file.Close(), writeKubeconfig(file.Name(), cfg))
}

func (c *ControlPlane) adminKubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

func writeKubeconfig(path string, cfg *rest.Config) error {
	const name = "controlplane"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.CurrentContext = name
	kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kubeconfig.Clusters[name] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cfg.CertData,
		ClientKeyData:         cfg.KeyData,
		Token:                 cfg.BearerToken,
	}
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil { // mode 0600
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}
