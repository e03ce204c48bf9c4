// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/e2e/visitor/visit"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	system    = "webhook-delivery-system"
	operator  = "webhook-delivery-operator"
	namespace = "webhook-e2e"
	nodes     = "webhook-e2e-node"
	crd       = "webhookdeliveries.webhookdelivery.dev"
	// receiverURL is the receiver as the operator reaches it.
	receiverURL = "https://receiver.webhook-e2e.svc"
	secret      = "my-secret-123"
)

// stage is the cluster, and what the steps must know of each other.
type stage struct {
	client.Client
	options

	kinds   discovery.DiscoveryInterface
	objects metadata.Interface
	before  inventory
	fetchCA string
}

func newStage(o options) (*stage, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	config.WarningHandler = rest.NoWarnings{} // listing everything lists what is deprecated, too
	config.QPS, config.Burst = 400, 400       // the load is limited where it is made
	s := &stage{options: o}
	scheme := runtime.NewScheme()
	err = errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err != nil {
		return nil, err
	}
	if s.kinds, err = discovery.NewDiscoveryClientForConfig(config); err != nil {
		return nil, err
	}
	if s.objects, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	s.Client, err = client.New(config, client.Options{Scheme: scheme})
	return s, err
}

// vacant takes the inventory, and refuses a cluster that has the operator already: it would be uninstalled in the end.
func (s *stage) vacant(ctx context.Context) (err error) {
	if s.before, err = takeInventory(ctx, s.kinds, s.objects); err != nil {
		return err
	}
	for _, taken := range []string{
		"customresourcedefinitions.apiextensions.k8s.io /" + crd,
		"namespaces /" + system, "namespaces /" + namespace, "namespaces /" + nodes,
	} {
		if _, ok := s.before[taken]; ok {
			return fmt.Errorf("the cluster has %s already: make e2e would delete it", taken)
		}
	}
	return nil
}

// run runs kubectl with input as its stdin, and returns what it prints.
func (s *stage) run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.kubectl, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// do runs kubectl for what it does.
func (s *stage) do(ctx context.Context, args ...string) error {
	_, err := s.run(ctx, "", args...)
	return err
}

// eventually polls until check returns nil, and returns its last error if that takes too long.
func eventually(ctx context.Context, within time.Duration, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		// What the time's end does to a request says less than the answer before.
		if err := check(ctx); err == nil || ctx.Err() == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("within %s: %w", within, errors.Join(err, last))
	}
	return nil
}

// account is what the receiver saw, by webhook-id.
func (s *stage) account(ctx context.Context) (map[string][]receiver.Record, error) {
	raw, err := s.receiver(ctx, "account")
	if err != nil {
		return nil, err
	}
	records, err := receiver.ReadRecords(strings.NewReader(raw))
	if err != nil {
		return nil, err
	}
	seen := map[string][]receiver.Record{}
	for _, r := range records {
		seen[r.WebhookID] = append(seen[r.WebhookID], r)
	}
	return seen, nil
}

// snapshot are the totals of what the receiver saw.
func (s *stage) snapshot(ctx context.Context) (totals receiver.Snapshot, err error) {
	raw, err := s.receiver(ctx, "snapshot")
	if err != nil {
		return totals, err
	}
	return totals, json.Unmarshal([]byte(raw), &totals)
}

// receiver reads from the receiver's admin address, through the API server.
func (s *stage) receiver(ctx context.Context, path string) (string, error) {
	return s.run(ctx, "", "get", "--raw", "/api/v1/namespaces/"+namespace+"/services/account:80/proxy/"+path)
}

// visit makes a request from inside the cluster.
func (s *stage) visit(ctx context.Context, request visit.Request) (response visit.Response, err error) {
	described, err := json.Marshal(request)
	if err != nil {
		return response, err
	}
	raw, err := s.run(ctx, string(described), "exec", "-i", "-n", namespace, "visitor", "--", "/manager", "get")
	if err != nil {
		return response, err
	}
	return response, json.Unmarshal([]byte(raw), &response)
}

// tokens are one of the ServiceAccount that may read, and one of another.
func (s *stage) tokens(ctx context.Context) (entitled, stranger string, err error) {
	create := []string{"create", "token", "-n", namespace, "--duration", "10m"}
	if entitled, err = s.run(ctx, "", append(create, "entitled")...); err != nil {
		return "", "", err
	}
	stranger, err = s.run(ctx, "", append(create, "stranger")...)
	return strings.TrimSpace(entitled), strings.TrimSpace(stranger), err
}

// apply applies one of the manifests in this directory.
func (s *stage) apply(ctx context.Context, name string) error {
	return s.do(ctx, "apply", "--server-side", "-f", filepath.Join("hack", "e2e", name))
}

// diagnose writes what is worth knowing after a failure. It cannot fail any further.
func (s *stage) diagnose(ctx context.Context, step string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for name, args := range map[string][]string{
		"pods":       {"get", "pods", "-A", "-o", "wide"},
		"objects":    {"get", "all,whd,pdb,lease", "-n", system, "-o", "yaml"},
		"deliveries": {"get", "whd", "-A", "-o", "wide"},
		"events":     {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		"log":        {"logs", "-n", system, "-l", "app.kubernetes.io/component=manager", "--prefix", "--tail=-1"},
		"previous":   {"logs", "-n", system, "-l", "app.kubernetes.io/component=manager", "--prefix", "--tail=-1", "-p"},
	} {
		output, err := s.run(ctx, "", args...)
		if err != nil {
			output += err.Error()
		}
		file := filepath.Join(s.logs, step+"-"+name+".txt")
		if err := errors.Join(os.MkdirAll(s.logs, 0o750), os.WriteFile(file, []byte(output), 0o600)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
