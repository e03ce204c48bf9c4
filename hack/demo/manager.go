// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	operatorNamespace = "webhook-delivery-system"
	operatorName      = "webhook-delivery-operator"
	// rightsTimeout is how long the API server may take to notice each of the rights that were just granted.
	rightsTimeout = 10 * time.Second
	// readyTimeout is how long the manager may take to serve its probes.
	readyTimeout = 30 * time.Second
)

// needed has a right from each kind of role and binding in config/rbac.
var needed = [][]string{
	{"watch", "webhookdeliveries.webhookdelivery.dev", "--all-namespaces"},
	{"get", "secrets", "--all-namespaces"},
	{"create", "leases.coordination.k8s.io", "--namespace=" + operatorNamespace},
}

func (d *demo) startReceiver(context.Context) (string, error) {
	secrets, err := d.samples.secrets()
	if err != nil {
		return "", err
	}
	d.receiver, err = receiver.Start(receiver.Options{Hosts: []string{"127.0.0.1"}, Secrets: secrets})
	if err != nil {
		return "", err
	}
	d.cleanup = append(d.cleanup, d.receiver.Close)
	return strings.TrimPrefix(d.receiver.URL(), "https://"), os.WriteFile(d.caPath(), d.receiver.CA(), 0o600)
}

func (d *demo) managerPath() string { return filepath.Join(d.root, "bin", "manager") }
func (d *demo) managerLog() string  { return filepath.Join(d.scratch, "manager.log") }
func (d *demo) caPath() string      { return filepath.Join(d.scratch, "receiver-ca.pem") }

// startManager starts the manager as the service account that config/rbac gives rights to, and waits until it is ready.
// If it ends by itself, the whole demo does.
func (d *demo) startManager(ctx context.Context) (string, error) {
	kubeconfig, err := d.operatorKubeconfig(ctx)
	if err != nil {
		return "", err
	}
	probes, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	to, err := url.Parse(d.receiver.URL())
	if err != nil {
		return "", err
	}
	d.manager, err = start(d.managerLog(), d.fail, d.managerPath(),
		"--kubeconfig="+kubeconfig,
		"--leader-elect", "--leader-election-namespace="+operatorNamespace,
		"--ca-bundle="+d.caPath(), "--allow-cidrs=127.0.0.0/8", "--allowed-ports="+to.Port(),
		"--health-probe-bind-address="+probes, "--metrics-bind-address="+metrics,
		"--zap-encoder=console", "--zap-time-encoding=iso8601")
	if err != nil {
		return "", err
	}
	d.cleanup = append(d.cleanup, d.manager.stop)
	return d.managerLog(), waitUntilReady(ctx, "http://"+probes+"/readyz")
}

// operatorKubeconfig returns the path of a kubeconfig with the rights of the operator's service account, once the API
// server has taken note of them.
func (d *demo) operatorKubeconfig(ctx context.Context) (string, error) {
	cfg, err := d.plane.User("system:serviceaccount:"+operatorNamespace+":"+operatorName,
		"system:serviceaccounts", "system:serviceaccounts:"+operatorNamespace)
	if err != nil {
		return "", err
	}
	path, err := d.plane.Kubeconfig(cfg)
	if err != nil {
		return "", err
	}
	may := func(ctx context.Context, right ...string) bool {
		_, err := d.plane.Kubectl(ctx, append([]string{"auth", "can-i", "--kubeconfig", path}, right...)...)
		return err == nil
	}
	for _, right := range needed {
		err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, rightsTimeout, true,
			func(ctx context.Context) (bool, error) { return may(ctx, right...), nil })
		if err != nil {
			return "", fmt.Errorf("config/rbac does not let the operator %s: %w", strings.Join(right, " "), err)
		}
	}
	if may(ctx, "list", "secrets", "--all-namespaces") {
		return "", errors.New("config/rbac lets the operator list Secrets")
	}
	return path, nil
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func waitUntilReady(ctx context.Context, url string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, readyTimeout, true,
		func(ctx context.Context) (bool, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return false, err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false, nil // it does not listen yet
			}
			return resp.StatusCode == http.StatusOK, resp.Body.Close()
		})
	if err != nil {
		return fmt.Errorf("waiting until the manager is ready: %w", err)
	}
	return nil
}
