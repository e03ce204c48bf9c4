// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
)

// stage is a control plane of a test's own, with the operator's parts installed and no manager yet.
type stage struct {
	t          *testing.T
	plane      *controlplane.ControlPlane
	cluster    client.Client
	kubeconfig string
}

func newStage(t *testing.T, options controlplane.Options) *stage {
	t.Helper()
	s := &stage{t: t}
	var err error
	if s.plane, err = controlplane.Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	if s.kubeconfig, err = operator.Install(t.Context(), s.plane); err != nil {
		t.Fatal(err)
	}
	if _, err := s.plane.Kubectl(t.Context(), "create", "namespace", namespace); err != nil {
		t.Fatal(err)
	}
	config := s.plane.Config()
	config.WarningHandler = rest.NoWarnings{} // the receiver's address is private, which a policy warns of
	if s.cluster, err = client.New(config, client.Options{Scheme: cluster.Scheme()}); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Create(t.Context(), makeSecret("webhook-secret", secret)); err != nil {
		t.Fatal(err)
	}
	return s
}

// startManager starts a manager that may send to the receiver. It does not wait until it is ready.
func (s *stage) startManager(name string, args ...string) *operator.Process {
	s.t.Helper()
	authority := filepath.Join(s.plane.Dir(), "receiver-ca.pem")
	if err := os.WriteFile(authority, inbox.CA(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	to, err := url.Parse(inbox.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := operator.Start(s.t.Context(), operator.Options{
		Kubeconfig: s.kubeconfig, LogFile: s.logFile(name),
		Args: append(args, "--ca-bundle="+authority, "--allow-cidrs=127.0.0.0/8", "--allowed-ports="+to.Port()),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

func (s *stage) logFile(name string) string { return filepath.Join(s.plane.Dir(), name+".log") }

// probes returns what the manager answers to both probes.
func probes(t *testing.T, p *operator.Process) (live, ready int) {
	t.Helper()
	live, _ = get(t, http.DefaultClient, p.ProbesURL()+"/healthz", "")
	ready, _ = get(t, http.DefaultClient, p.ProbesURL()+"/readyz", "")
	return live, ready
}

var heldBack = regexp.MustCompile(`webhookdelivery_held_back_total\{cause="unwritten"\} [1-9]`)

// TestProbes takes two replicas from an election without rights on Jobs, through readiness, into an outage of the API
// server with more outcomes unwritten than there may be.
func TestProbes(t *testing.T) {
	t.Parallel()
	s := newStage(t, controlplane.Options{})
	answers := func(p *operator.Process, wantLive, wantReady int) func() error {
		return func() error {
			if live, ready := probes(t, p); live != wantLive || ready != wantReady {
				return fmt.Errorf("healthz %d and readyz %d, want %d and %d", live, ready, wantLive, wantReady)
			}
			return nil
		}
	}

	// The retries come while the lease still outlasts a request: otherwise that would hold them back.
	leader := s.startManager("leader", "--jobs", "--max-unwritten=1", "--retry-schedule=8s", "--request-timeout=2s")
	until(t, "a leader whose cache of Jobs cannot sync", func() error {
		if !leader.Leads(t.Context()) {
			return errors.New("it does not lead")
		}
		return answers(leader, http.StatusOK, http.StatusInternalServerError)()
	})
	standby := s.startManager("standby", "--jobs")
	until(t, "a standby", answers(standby, http.StatusOK, http.StatusOK))
	if standby.Leads(t.Context()) {
		t.Fatal("the standby leads")
	}
	if err := answers(leader, http.StatusOK, http.StatusInternalServerError)(); err != nil {
		t.Error("the leader, still: ", err)
	}
	if _, err := operator.Install(t.Context(), s.plane, operator.WithJobs); err != nil {
		t.Fatal(err)
	}
	until(t, "a leader whose caches have synced", answers(leader, http.StatusOK, http.StatusOK))

	s.createRefused("probes", 10)
	if err := s.plane.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	until(t, "back-pressure", func() error {
		_, metrics := get(t, http.DefaultClient, leader.MetricsURL(), "")
		if !heldBack.MatchString(metrics) {
			return errors.New("nothing is held back")
		}
		return nil
	})
	for name, p := range map[string]*operator.Process{"leader": leader, "standby": standby} {
		if err := answers(p, http.StatusOK, http.StatusOK)(); err != nil {
			t.Errorf("%s without the API server: %v", name, err)
		}
	}
}

// createRefused creates n deliveries that the receiver refuses, and returns when that is recorded of all. They have no
// Secret, so that each retry needs nothing of the API server.
func (s *stage) createRefused(prefix string, n int) {
	s.t.Helper()
	for i := range n {
		d := makeDelivery(fmt.Sprint(prefix, i), "/ok")
		d.Spec.SecretRef = nil
		if err := s.cluster.Create(s.t.Context(), d); err != nil {
			s.t.Fatal(err)
		}
	}
	until(s.t, "the first attempts", func() error {
		out, err := s.plane.Kubectl(s.t.Context(), "get", "whd", "--namespace", namespace, "--no-headers",
			"--field-selector=status.phase=Retrying")
		if got := strings.Count(out, "\n"); err == nil && got < n {
			err = fmt.Errorf("%d of %d recorded", got, n)
		}
		return err
	})
}
