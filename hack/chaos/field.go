// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	namespace    = "tasks"
	replicas     = 2
	maxRequests  = 128
	maxUnwritten = 128
)

// pace are the times of a run: shorter ones make a shorter test.
type pace struct {
	schedule       []time.Duration
	requestTimeout time.Duration
	lease          time.Duration
	retryPeriod    time.Duration
	killEvery      time.Duration
	outage         time.Duration
	watchLag       time.Duration
}

func defaultPace() pace {
	return pace{
		schedule:       []time.Duration{5 * time.Second, 10 * time.Second, 15 * time.Second},
		requestTimeout: 5 * time.Second, lease: 12 * time.Second, retryPeriod: 2 * time.Second,
		killEvery: 5 * time.Second, outage: 30 * time.Second, watchLag: 15 * time.Second,
	}
}

func (p pace) flags() []string {
	gaps := make([]string, len(p.schedule))
	for i, gap := range p.schedule {
		gaps[i] = gap.String()
	}
	return []string{
		"--retry-schedule=" + strings.Join(gaps, ","), "--request-timeout=" + p.requestTimeout.String(),
		"--leader-election-lease-duration=" + p.lease.String(),
		"--leader-election-renew-deadline=" + (p.lease * 3 / 4).String(),
		"--leader-election-retry-period=" + p.retryPeriod.String(),
		// Few enough for an outage to reach the bound.
		fmt.Sprint("--max-requests=", maxRequests), fmt.Sprint("--max-requests-per-namespace=", maxRequests),
		fmt.Sprint("--max-unwritten=", maxUnwritten),
	}
}

// field is all that a scenario plays on: a control plane, replicas of the operator that reach it through a proxy, and
// receivers, one of which never answers.
type field struct {
	pace    pace
	plane   *controlplane.ControlPlane
	proxy   *proxy
	cluster client.Client
	good    *receiver.Server
	hanging *receiver.Server
	options operator.Options

	mu       sync.Mutex
	replicas []*operator.Process // oldest first
	started  int                 // how many replicas there have been
	logs     []string
	losses   []loss
	closing  bool
	problem  error

	perSecond    int       // how many deliveries the load creates in a second
	began, ended time.Time // when the load began and ended
}

func newField(ctx context.Context, p pace) (f *field, err error) {
	f = &field{pace: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return f, err
	}
	kubeconfig, err := operator.Install(ctx, f.plane)
	if err != nil {
		return f, err
	}
	if err := f.connect(ctx, kubeconfig); err != nil {
		return f, err
	}
	if err := f.startReceivers(); err != nil {
		return f, err
	}
	for range replicas {
		if err := f.startReplica(ctx); err != nil {
			return f, err
		}
	}
	_, err = f.leader(ctx)
	return f, err
}

// startReceivers starts both receivers, and lets the operator trust and reach them.
func (f *field) startReceivers() error {
	authority, err := receiver.NewAuthority()
	if err != nil {
		return err
	}
	for _, server := range []**receiver.Server{&f.good, &f.hanging} {
		if *server, err = receiver.Start(receiver.Options{Authority: authority}); err != nil {
			return err
		}
	}
	bundle := filepath.Join(f.plane.Dir(), "receiver-ca.pem")
	if err := os.WriteFile(bundle, authority.PEM(), 0o600); err != nil {
		return err
	}
	var ports []string
	for _, server := range []*receiver.Server{f.good, f.hanging} {
		to, err := url.Parse(server.URL())
		if err != nil {
			return err
		}
		ports = append(ports, to.Port())
	}
	f.options.Args = append(f.pace.flags(),
		"--ca-bundle="+bundle, "--allow-cidrs=127.0.0.0/8", "--allowed-ports="+strings.Join(ports, ","))
	return nil
}

// connect puts the proxy between the operator, with the rights of kubeconfig, and the API server.
func (f *field) connect(ctx context.Context, kubeconfig string) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	admin := f.plane.Config()
	admin.WarningHandler = rest.NoWarnings{} // the receivers' addresses are private, which a policy warns of
	if f.cluster, err = client.New(admin, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := f.cluster.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	user, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	if f.proxy, err = startProxy(user); err != nil {
		return err
	}
	f.options.Kubeconfig, err = f.proxy.kubeconfig(f.plane.Dir())
	return err
}

// startReplica starts another replica. One that ends by itself, as after a lost lease, is started again as a kubelet
// would, and may lose as many outcomes as it says.
func (f *field) startReplica(ctx context.Context) error {
	f.mu.Lock()
	f.started++
	options := f.options
	options.LogFile = filepath.Join(f.plane.Dir(), fmt.Sprintf("manager-%d.log", f.started))
	f.logs = append(f.logs, options.LogFile)
	f.mu.Unlock()
	began := time.Now()
	options.Died = func(err error) {
		n, ok := admitted(err.Error())
		if !ok {
			f.keep(err)
		}
		f.lose(loss{from: began, to: time.Now(), most: n, atRisk: n})
		if pause(ctx, time.Second) == nil {
			f.keep(f.startReplica(ctx))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil
	}
	p, err := operator.Start(ctx, options)
	if err != nil {
		return err
	}
	f.replicas = append(f.replicas, p)
	return nil
}

// keep remembers the first thing that went wrong behind the back of the scenario.
func (f *field) keep(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == nil {
		f.problem = err
	}
}

// lose notes what a process may have lost.
func (f *field) lose(l loss) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losses = append(f.losses, l)
}

// mayLose is how many requests a process can lose that told atRisk when it was asked, a moment ago: those, and what it
// can have begun in the meantime. One that did not tell can lose all that its flags let it have.
func (f *field) mayLose(atRisk int, told bool, asked time.Time) int {
	const most, slack = maxRequests + maxUnwritten, 8
	if !told {
		return most
	}
	return min(most, atRisk+slack+int(2*float64(f.perSecond)*time.Since(asked).Seconds()))
}

// atRisk is how many outcomes p would lose now; false if it does not tell.
func (f *field) atRisk(ctx context.Context, p *operator.Process) (int, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.MetricsURL(), nil)
	if err != nil {
		f.keep(err)
		return 0, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, false // it has ended, or is too busy
	}
	defer func() { _ = resp.Body.Close() }()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false
	}
	return pendingIn(string(metrics)), true
}

// alive are the replicas that have not ended, oldest first.
func (f *field) alive() (alive []*operator.Process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.replicas {
		select {
		case <-p.Ended():
		default:
			alive = append(alive, p)
		}
	}
	f.replicas = alive
	return alive
}

// leader returns the replica that holds the lease, once there is one.
func (f *field) leader(ctx context.Context) (leader *operator.Process, err error) {
	key := client.ObjectKey{Namespace: operator.Namespace, Name: "webhook-delivery-operator"}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true,
		func(ctx context.Context) (bool, error) {
			var lease coordinationv1.Lease
			if err := f.cluster.Get(ctx, key, &lease); err != nil || lease.Spec.HolderIdentity == nil {
				return false, nil
			}
			for _, p := range f.alive() {
				if p.Leads(ctx) {
					leader = p
					return true, nil
				}
			}
			return false, nil
		})
	if err != nil {
		return nil, fmt.Errorf("waiting for a leader: %w%s", err, f.tails())
	}
	return leader, nil
}

// kill kills the leader and starts another replica.
func (f *field) kill(ctx context.Context, leader *operator.Process) error {
	asked := time.Now()
	atRisk, told := f.atRisk(ctx, leader)
	began := time.Now()
	if err := leader.Kill(); err != nil {
		return err
	}
	f.lose(loss{from: began.Add(-writeTime), to: time.Now(), most: f.mayLose(atRisk, told, asked), atRisk: atRisk})
	return f.startReplica(ctx)
}

func (f *field) restartOldest(ctx context.Context) error {
	alive := f.alive()
	if err := f.startReplica(ctx); err != nil || len(alive) == 0 {
		return err
	}
	return alive[0].Stop()
}

// repeat calls do every so often until the load has ended, and returns then.
func (f *field) repeat(ctx context.Context, lasts, every time.Duration, do func() error) error {
	end := time.Now().Add(lasts)
	for time.Now().Add(every).Before(end) {
		if err := pause(ctx, every); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
	}
	return pause(ctx, time.Until(end))
}

// outage lets something be away for a while, from a quarter of the load on.
func (f *field) outage(ctx context.Context, lasts time.Duration, kill, start func() error) error {
	if err := pause(ctx, lasts/4); err != nil {
		return err
	}
	if err := kill(); err != nil {
		return err
	}
	err := pause(ctx, f.pace.outage)
	if started := start(); err == nil {
		err = started
	}
	return err
}

// close stops everything.
func (f *field) close() error {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	var problems []error
	for _, p := range f.alive() {
		problems = append(problems, p.Kill())
	}
	for _, server := range []*receiver.Server{f.good, f.hanging} {
		if server != nil {
			problems = append(problems, server.Close())
		}
	}
	if f.proxy != nil {
		problems = append(problems, f.proxy.close())
	}
	if f.plane != nil {
		problems = append(problems, f.plane.Stop())
	}
	return errors.Join(problems...)
}

// tails are the ends of the logs of the replicas that started last.
func (f *field) tails() (text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, log := range f.logs[max(0, len(f.logs)-replicas):] {
		text += operator.Tail(log, 20)
	}
	return text
}
