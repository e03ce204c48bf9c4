// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

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

func (d *demo) managerLog() string { return filepath.Join(d.scratch, "manager.log") }
func (d *demo) caPath() string     { return filepath.Join(d.scratch, "receiver-ca.pem") }

// startManager starts the manager as the service account that config/rbac gives rights to, and waits until it is ready.
// If it ends by itself, the whole demo does.
func (d *demo) startManager(ctx context.Context) (string, error) {
	if _, err := d.plane.Kubectl(ctx, "auth", "can-i", "list", "secrets", "--all-namespaces",
		"--kubeconfig", d.kubeconfig); err == nil {
		return "", errors.New("config/rbac lets the operator list Secrets")
	}
	to, err := url.Parse(d.receiver.URL())
	if err != nil {
		return "", err
	}
	flags, err := d.certifyFetch(ctx)
	if err != nil {
		return "", err
	}
	d.manager, err = operator.Start(ctx, operator.Options{
		Kubeconfig: d.kubeconfig, LogFile: d.managerLog(), Died: d.fail,
		Args: append(flags,
			"--jobs", "--ca-bundle="+d.caPath(), "--allow-cidrs=127.0.0.0/8", "--allowed-ports="+to.Port(),
			"--zap-encoder=console", "--zap-time-encoding=iso8601"),
	})
	if err != nil {
		return "", err
	}
	d.cleanup = append(d.cleanup, d.manager.Stop)
	return "log: " + d.managerLog(), d.manager.WaitReady(ctx)
}
