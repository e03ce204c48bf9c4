// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

func (d *demo) startControlPlane(ctx context.Context) (string, error) {
	plane, err := controlplane.Start(ctx, controlplane.Options{Dir: d.scratch})
	if err != nil {
		return "", err
	}
	d.plane = plane
	d.cleanup = append(d.cleanup, plane.Stop)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return "", err
	}
	d.client, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	return plane.URL().Host, err
}

func (d *demo) install(ctx context.Context) (_ string, err error) {
	if d.kubeconfig, err = operator.Install(ctx, d.plane, operator.WithJobs); err != nil {
		return "", err
	}
	_, err = d.plane.Kubectl(ctx, "create", "namespace", namespace)
	return "", err
}

// applySamples applies all samples but the late Secret, with the receiver's URL in place of their own.
func (d *demo) applySamples(ctx context.Context) (string, error) {
	dir := filepath.Join(d.scratch, "samples")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if err := d.samples.write(dir, d.receiver.URL()); err != nil {
		return "", err
	}
	d.evidence.applied = time.Now()
	_, err := d.plane.Kubectl(ctx, "apply", "--server-side", "--namespace", namespace, "--filename", dir)
	if d.stays {
		return "all but " + lateSecret, err
	}
	return fmt.Sprintf("%s follows in %s", lateSecret, lateSecretAfter), err
}

// endJob writes to the Job what the Job controller, which a bare control plane lacks, writes when a Job has finished.
func (d *demo) endJob(ctx context.Context) (string, error) {
	d.evidence.jobEnded = time.Now()
	patch := strings.ReplaceAll(`{"status": {"startTime": "NOW", "completionTime": "NOW", "succeeded": 1, "conditions": [
		{"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"},
		{"type": "Complete", "status": "True", "reason": "CompletionsReached"}]}}`,
		"NOW", d.evidence.jobEnded.UTC().Format(time.RFC3339))
	_, err := d.plane.Kubectl(ctx, "patch", "job", finishedJob, "--namespace", namespace, "--subresource=status",
		"--type=merge", "--patch", patch)
	return "no Job controller runs here", err
}

func (d *demo) applyLateSecret(ctx context.Context) error {
	d.evidence.secretApplied = time.Now()
	_, err := d.plane.Kubectl(ctx, "apply", "--server-side", "--namespace", namespace,
		"--filename", filepath.Join(d.root, "config", "samples", lateSecret))
	return err
}
