// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package security tests what the operator refuses and what it keeps to itself, as users meet it: real manager binaries
// with several settings, a real API server, and receivers and proxies on the loopback interface.
package security

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

const (
	// loudest lets a manager log all that it can be made to log.
	loudest = "--zap-log-level=7"

	// The namespaces, each watched by one manager.

	// loud is the manager's that logs all it can and opens the loopback interface but for deniedHost.
	loud = "loud"
	// patient is the manager's whose gaps leave time to change a Secret between two attempts.
	patient = "patient"
	// guarded is the manager's with the default address guard.
	guarded = "guarded"
	// proxied is the manager's that sends through tunnel, and logs all it can.
	proxied = "proxied"

	deniedHost = "127.0.0.9"
	// maxPayload is the loud manager's.
	maxPayload = 4096
)

// What the tests of this package share: they run side by side, each with objects of its own names.
var (
	plane    *controlplane.ControlPlane
	cluster  client.Client
	managers = map[string]*managed{}

	public, private, clients *authority

	inbox    *receiver // its certificate is of the authority that the managers trust
	chatty   *receiver // as inbox, for responses that spoil the connection for others
	stranger *receiver // its certificate is of the private authority
	strict   *receiver // as inbox, and demands a certificate of the client authority
	tunnel   *connectProxy
	trap     *listener // what HTTPS_PROXY names
)

// managed is a running manager, and where it tells of itself.
type managed struct {
	*operator.Process
	log, pprof string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := errors.Join(operator.Build(ctx), startServers(ctx)); err != nil {
		return 0, err
	}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://"+trap.Addr().String()); err != nil {
			return 0, err
		}
	}
	if err := os.Unsetenv("NO_PROXY"); err != nil {
		return 0, err
	}
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return 0, err
	}
	defer plane.Stop() //nolint:errcheck // the verdict of the tests stands
	defer func() {
		for _, manager := range managers {
			err = errors.Join(err, manager.Stop())
		}
	}()
	if err := errors.Join(startManagers(ctx), seed(ctx)); err != nil {
		return 0, err
	}
	// The tests mostly wait, so more of them than there are processors may run at once.
	if err := flag.Set("test.parallel", "16"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// startServers starts what the managers connect to. It ends with the process.
func startServers(ctx context.Context) (err error) {
	for _, a := range []**authority{&public, &private, &clients} {
		if *a, err = newAuthority(); err != nil {
			return err
		}
	}
	hosts := []string{"127.0.0.1", "*.receiver.example"}
	for to, start := range map[**receiver]func() (*receiver, error){
		&inbox:    func() (*receiver, error) { return startReceiver(ctx, public, nil, hosts...) },
		&chatty:   func() (*receiver, error) { return startReceiver(ctx, public, nil, hosts...) },
		&stranger: func() (*receiver, error) { return startReceiver(ctx, private, nil, hosts...) },
		&strict:   func() (*receiver, error) { return startReceiver(ctx, public, clients, hosts...) },
	} {
		if *to, err = start(); err != nil {
			return err
		}
	}
	if trap, err = listen(ctx); err != nil {
		return err
	}
	go trap.refuseAll()
	tunnel, err = startProxy(ctx, inbox.Addr().String())
	return err
}

func startManagers(ctx context.Context) error {
	kubeconfig, err := operator.Install(ctx, plane)
	if err != nil {
		return err
	}
	bundle := filepath.Join(plane.Dir(), "receiver-ca.pem")
	if err := os.WriteFile(bundle, public.PEM(), 0o600); err != nil {
		return err
	}
	bundle = "--ca-bundle=" + bundle
	const loopback = "--allow-cidrs=127.0.0.0/8"
	for namespace, args := range map[string][]string{
		loud: {
			loudest, loopback, bundle, "--deny-cidrs=" + deniedHost + "/32", "--request-timeout=1s",
			"--retry-schedule=100ms", "--secret-wait-timeout=2s", fmt.Sprintf("--max-payload=%d", maxPayload),
		},
		patient: {loopback, bundle, "--retry-schedule=5s,5s,5s"},
		guarded: {bundle},
		proxied: {
			loudest, bundle, "--egress-proxy=http://" + tunnel.Addr().String(), "--retry-schedule=100ms",
		},
	} {
		manager := &managed{log: filepath.Join(plane.Dir(), namespace+".log")}
		if manager.pprof, err = freeAddress(ctx); err != nil {
			return err
		}
		manager.Process, err = operator.Start(ctx, operator.Options{
			Kubeconfig: kubeconfig, LogFile: manager.log,
			Args: append(args, "--leader-elect=false", "--namespaces="+namespace, "--pprof-bind-address="+manager.pprof),
		})
		if err != nil {
			return err
		}
		managers[namespace] = manager
		if err := manager.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func seed(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	if cluster, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for namespace := range managers {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if err := cluster.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// get returns what the URL answers.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return readAll(t, response.Body)
}
