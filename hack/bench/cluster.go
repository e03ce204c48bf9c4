// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	secretValue = "my-secret-123"
	resource    = "webhookdeliveries"

	// pollEvery is how often something is looked at that must be asked for.
	pollEvery = 20 * time.Millisecond
)

// cluster is a control plane with everything installed, and a receiver. Each scenario has its own, so that none meets
// what another has left.
type cluster struct {
	settings settings
	plane    *controlplane.ControlPlane
	api      *api
	kube     string // the manager's kubeconfig
	fail     context.CancelCauseFunc

	authority *receiver.Authority
	inbox     *receiver.Server // in this process; answers each path as receiver.ParseBehaviour says
	ports     []string         // that the manager may send to

	manager *operator.Process // nil while none runs
	pprof   string            // where it serves its profiles

	namespaces int // made so far
}

// within runs do on a new cluster, and stops whatever runs of it in the end. ctx ends when the manager dies.
func within(ctx context.Context, s settings, fsync bool, do func(context.Context, *cluster) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := &cluster{settings: s, fail: fail}
	err := c.start(ctx, fsync)
	if err == nil {
		err = do(ctx, c)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if err != nil {
		err = fmt.Errorf("%w%s", err, c.lastWords())
	}
	return errors.Join(err, c.stop())
}

// lastWords is what a manager that runs has logged last, as an appendix to an error. One that died has told already.
func (c *cluster) lastWords() string {
	if c.manager == nil {
		return ""
	}
	select {
	case <-c.manager.Ended():
		return ""
	default:
		return operator.Tail(c.managerLog(), 20)
	}
}

func (c *cluster) start(ctx context.Context, fsync bool) (err error) {
	if c.plane, err = controlplane.Start(ctx, controlplane.Options{Fsync: fsync}); err != nil {
		return err
	}
	if c.api, err = newAPI(c.plane.Config()); err != nil {
		return err
	}
	if c.authority, err = receiver.NewAuthority(); err != nil {
		return err
	}
	if err := os.WriteFile(c.authorityFile(), c.authority.PEM(), 0o600); err != nil {
		return err
	}
	if c.inbox, err = c.receiver(); err != nil {
		return err
	}
	if c.kube, err = operator.Install(ctx, c.plane); err != nil {
		return err
	}
	return c.awaitPolicies(ctx)
}

// receiver starts a receiver that the manager trusts. The caller closes it.
func (c *cluster) receiver() (*receiver.Server, error) {
	server, err := receiver.Start(receiver.Options{Secrets: []string{secretValue}, Authority: c.authority})
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(server.URL())
	if err != nil {
		return nil, err
	}
	c.ports = append(c.ports, to.Port())
	return server, nil
}

func (c *cluster) stop() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, c.killManager())
	}
	if c.inbox != nil {
		errs = append(errs, c.inbox.Close())
	}
	if c.plane != nil {
		errs = append(errs, c.plane.Stop())
	}
	return errors.Join(errs...)
}

func (c *cluster) authorityFile() string { return filepath.Join(c.plane.Dir(), "receiver-ca.pem") }
func (c *cluster) managerLog() string    { return filepath.Join(c.plane.Dir(), "manager.log") }

// awaitPolicies returns when the API server enforces the policies, which takes it some seconds to begin with.
func (c *cluster) awaitPolicies(ctx context.Context) error {
	insecure, err := newTemplate("http://receiver.example/", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return err
	}
	return poll(ctx, "the policies to be enforced", func() (bool, error) {
		_, err := c.api.create(ctx, collection("default")+"?dryRun=All", insecure)
		switch {
		case answered(err, http.StatusForbidden):
			return true, nil
		case answered(err, http.StatusNotFound): // the namespace
			return false, nil
		}
		return false, err
	})
}

// namespace makes a namespace with the Secret that deliveries name, and returns its name.
func (c *cluster) namespace(ctx context.Context) (string, error) {
	c.namespaces++
	name := fmt.Sprintf("bench-%d", c.namespaces)
	_, err := c.api.create(ctx, "/api/v1/namespaces", fmt.Appendf(nil,
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name))
	if err != nil {
		return "", err
	}
	_, err = c.api.create(ctx, "/api/v1/namespaces/"+name+"/secrets", fmt.Appendf(nil,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q},"data":{%q:%q}}`, secretName, secretName,
		base64.StdEncoding.EncodeToString([]byte(secretValue))))
	return name, err
}

// collection is the path of a namespace's deliveries.
func collection(namespace string) string {
	return "/apis/" + v1alpha1.GroupVersion.String() + "/namespaces/" + namespace + "/" + resource
}

// startManager starts the manager and returns how long it took until it made the request of a delivery that had been
// waiting for it. What the receiver has seen by then is forgotten.
func (c *cluster) startManager(ctx context.Context) (time.Duration, error) {
	namespace, err := c.namespace(ctx)
	if err != nil {
		return 0, err
	}
	probe, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return 0, err
	}
	if _, err := c.api.create(ctx, collection(namespace), probe.object(0)); err != nil {
		return 0, err
	}
	c.inbox.Reset()
	if c.pprof, err = freeAddress(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	c.manager, err = operator.Start(ctx, operator.Options{
		Kubeconfig: c.kube, LogFile: c.managerLog(), Died: c.fail,
		Args: []string{
			"--ca-bundle=" + c.authorityFile(), "--allow-cidrs=127.0.0.0/8",
			"--allowed-ports=" + strings.Join(c.ports, ","), "--pprof-bind-address=" + c.pprof,
		},
	})
	if err != nil {
		return 0, err
	}
	if err := c.received(ctx, 1); err != nil {
		return 0, err
	}
	took := time.Since(began)
	// Connections and caches are to be as they are in a manager that has been running.
	_, err = flatOut(ctx, c.settings.clients, 2*c.settings.clients, func(ctx context.Context, i int) error {
		_, err := c.api.create(ctx, collection(namespace), probe.object(i+1))
		return err
	})
	if err == nil {
		err = errors.Join(c.received(ctx, 2*c.settings.clients+1), c.settled(ctx, namespace))
	}
	c.inbox.Reset()
	return took, err
}

// stopManager lets the manager end by itself, so that the next can lead at once.
func (c *cluster) stopManager() error {
	stopping := c.manager
	c.manager = nil
	return stopping.Stop()
}

// killManager ends the manager whatever it is doing.
func (c *cluster) killManager() error {
	killed := c.manager
	c.manager = nil
	return killed.Kill()
}

// dropLease makes room for the next manager after one was killed.
func (c *cluster) dropLease(ctx context.Context) error {
	_, err := c.api.do(ctx, http.MethodDelete, "/apis/coordination.k8s.io/v1/namespaces/"+operator.Namespace+
		"/leases/webhook-delivery-operator", "", nil)
	return err
}

// received returns when the receiver has accepted so many deliveries since its account began.
func (c *cluster) received(ctx context.Context, deliveries int) error {
	return c.inbox.Wait(ctx, func(s receiver.Snapshot) bool { return s.AcceptedDeliveries >= deliveries })
}

// settled returns when every delivery of the namespace is recorded as finished.
func (c *cluster) settled(ctx context.Context, namespace string) error {
	query := url.Values{
		"fieldSelector":   {"status.phase!=Delivered,status.phase!=Undeliverable"},
		"limit":           {"1"},
		"resourceVersion": {"0"}, // from the API server's memory
	}
	return poll(ctx, "all deliveries to be finished", func() (bool, error) {
		names, err := c.api.names(ctx, collection(namespace)+"?"+query.Encode())
		return len(names) == 0, err
	})
}

// poll asks done again and again until it returns true or fails, or ctx ends.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// pause waits so that what has just happened can come to rest.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// freeAddress returns a loopback address that nobody listens on. It is not 127.0.0.1, where any connection that is
// opened meanwhile may take the port.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.2:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
