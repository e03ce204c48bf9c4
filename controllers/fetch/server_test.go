// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func TestRefusedByProtocol(t *testing.T) {
	s := serveTLS(t, t.TempDir())
	put := s.get("t", "tasks")
	put.Method = http.MethodPut
	header := s.get("t", "tasks")
	header.Header.Set("X-Webhook-Secret", strings.Repeat("x", 32<<10))
	for name, tc := range map[string]struct {
		request *http.Request
		code    int
	}{
		"method":       {put, 405},
		"malformed":    {s.get("", "tasks"), 400},
		"large body":   {s.post(strings.Repeat(" ", 1<<20)), 413},
		"large header": {header, 431},
		"another path": {must(http.NewRequest(http.MethodGet, strings.TrimSuffix(s.url, Path)+"/", nil)), 404},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.ask(t, tc.request, nil); got.Code != tc.code {
				t.Errorf("got %d %s, want %d", got.Code, got.Body, tc.code)
			}
		})
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	s := serveTLS(t, dir)
	old := *s
	if got := old.ask(t, s.get("t", "tasks"), nil); got.Code != 404 {
		t.Fatalf("got %d", got.Code)
	}
	s.client = clientTrusting(t, certify(t, dir))
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true,
		func(context.Context) (bool, error) {
			response, err := s.client.Do(s.get("t", "tasks"))
			if err != nil {
				return false, nil
			}
			return response.StatusCode == 404, response.Body.Close()
		})
	if err != nil {
		t.Errorf("the new certificate was not served: %v", err)
	}
	old.client.CloseIdleConnections()
	if _, err := old.client.Do(s.get("t", "tasks")); err == nil {
		t.Error("the old certificate is still served")
	}
}

func TestCertificateMustBeReadable(t *testing.T) {
	o := DefaultOptions()
	o.BindAddress, o.CertFile, o.KeyFile = "127.0.0.1:0", filepath.Join(t.TempDir(), "absent"), "absent"
	_, err := New(restricted, http.DefaultClient, nil, logr.Discard(), o)
	if err == nil || !strings.Contains(err.Error(), "certificate of /fetch") {
		t.Errorf("got %v", err)
	}
}

// TestShutdown ends the endpoint while it asks the API server. The client gets its answer.
func TestShutdown(t *testing.T) {
	api := oneTask()
	api.block, api.entered = make(chan struct{}), make(chan struct{}, 1)
	endpoint, _ := api.endpoint(nil)
	s := serve(t, endpoint)
	answered := make(chan answer, 1)
	go func() { answered <- s.ask(t, s.get("task-1", "tasks"), withSecret("right")) }()
	<-api.entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	select {
	case err := <-stopped:
		t.Errorf("stopped with a request in progress: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(api.block)
	if got := <-answered; got.Code != 200 {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestErrorLog(t *testing.T) {
	endpoint, log := oneTask().endpoint(nil)
	errors := newErrorLog(endpoint.logger)
	errors.Printf("http: TLS handshake error from 192.0.2.1:1: EOF") // any scanner's
	if log.all() != "" {
		t.Errorf("logged %s", log.all())
	}
	errors.Printf("http: panic serving 192.0.2.1:1: oops")
	if !strings.Contains(log.all(), "oops") {
		t.Error("a panic was not logged")
	}
}

func TestStartTellsWhyItCannotListen(t *testing.T) {
	endpoint, _ := oneTask().endpoint(func(o *Options) { o.BindAddress = "127.0.0.1:1:1" })
	if err := endpoint.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "serving /fetch") {
		t.Errorf("got %v", err)
	}
}

// neverElected is a lock that another replica holds.
type neverElected struct{ resourcelock.Interface }

func (neverElected) Identity() string     { return "standby" }
func (neverElected) Describe() string     { return "lock" }
func (neverElected) RecordEvent(_ string) {}
func (neverElected) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &resourcelock.LeaderElectionRecord{HolderIdentity: "leader", LeaseDurationSeconds: 60}, []byte("{}"), nil
}

func TestStandbyAnswers(t *testing.T) {
	mgr, err := ctrl.NewManager(rest.CopyConfig(restricted), ctrl.Options{
		Scheme: scheme(), Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionResourceLockInterface: neverElected{},
	})
	if err != nil {
		t.Fatal(err)
	}
	options := DefaultOptions()
	options.BindAddress = "127.0.0.1:0"
	endpoint, err := New(mgr.GetConfig(), mgr.GetHTTPClient(), mgr.GetAPIReader(), logr.Discard(), options)
	if err != nil {
		t.Fatal(err)
	}
	// The manager starts it as it is; the port is known beforehand only to a test that takes one.
	options.BindAddress = freeAddress(t)
	endpoint.options = options
	if err := mgr.Add(endpoint); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 20*time.Second, true,
		func(context.Context) (bool, error) {
			response, err := http.Get("http://" + options.BindAddress + Path)
			if err != nil {
				return false, nil
			}
			_, err = io.Copy(io.Discard, response.Body)
			return response.StatusCode == 400, err
		})
	if err != nil {
		t.Errorf("a standby did not answer: %v", err)
	}
	select {
	case <-mgr.Elected():
		t.Error("the standby was elected")
	default:
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
