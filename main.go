// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// The manager runs the controllers of the WebhookDelivery operator. This file reads the flags and wires the parts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
	"github.com/webhookdelivery/operator/controllers/fetch"
	"github.com/webhookdelivery/operator/controllers/jobs"
	"github.com/webhookdelivery/operator/controllers/retention"
)

// version is set by the linker.
var version = "dev"

// bodyVerbosity is the log level from which on client-go logs the bodies of all that it reads and writes.
const bodyVerbosity = 8

// writeTime is what a shutdown grants to writing outcomes once the requests have ended.
const writeTime = 15 * time.Second

// gcPercent is how much garbage there may be for what is in use, in percent, unless the environment's GOGC says. Most
// of what is in use are waiting deliveries, and the API server takes many times the processor that the manager does.
const gcPercent = 50

func main() {
	o := defaultOptions()
	o.bind(flag.CommandLine)
	showVersion := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *showVersion {
		fmt.Println(version)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
	log.SetOutput(sender.LogFilter(os.Stderr)) // net/http quotes receivers there
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		ctrl.Log.Error(err, "manager stopped")
		os.Exit(1)
	}
}

// run starts the manager and returns when it has stopped and everything is written that can be.
func run(ctx context.Context, o options) error {
	if err := o.complete(); err != nil {
		return err
	}
	o.logSettings(ctrl.Log)
	delivery.SetVersion(version)
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	leadership, err := o.leadership(config)
	if err != nil {
		return err
	}
	rights, err := o.rights(ctx, config)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, o.manager(leadership))
	if err != nil {
		return fmt.Errorf("creating the manager: %w", err)
	}
	s, err := sender.New(o.sender)
	if err != nil {
		return err
	}
	defer s.Close()
	labelled, err := cache.New(config, o.cache(delivery.LabelledObjects()))
	if err != nil {
		return fmt.Errorf("creating the cache of labelled objects: %w", err)
	}
	deps := delivery.Dependencies{
		Cache: mgr.GetCache(), Labelled: labelled, Live: mgr.GetAPIReader(), Writer: mgr.GetClient(),
		Events: mgr.GetEventRecorder("webhookdelivery"), Sender: s,
	}
	if leadership != nil {
		deps.MaySend = func() bool { return leadership.Holds(o.sender.RequestTimeout + delivery.SendMargin) }
	}
	r, err := delivery.New(o.policy, o.delivery, deps)
	if err != nil {
		return err
	}
	if leadership != nil {
		leadership.KeepWhile(r.Busy)
	}
	if err := add(mgr, r, o); err != nil {
		return err
	}
	if rights != nil {
		if err := rights.SetupWithManager(mgr, r); err != nil {
			return fmt.Errorf("adding the watch over the namespaces: %w", err)
		}
	}
	if err := addProbes(mgr, labelled); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	// After a lost lease the manager does not wait for what is in flight.
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.flushTimeout)
	defer cancel()
	return errors.Join(err, r.Flush(flushing))
}

// add adds the controllers to mgr.
func add(mgr manager.Manager, r *delivery.Reconciler, o options) error {
	if err := r.SetupWithManager(mgr); err != nil {
		return err
	}
	sweeper, err := retention.New(mgr.GetConfig(), o.retention)
	if err != nil {
		return err
	}
	if err := mgr.Add(sweeper); err != nil {
		return fmt.Errorf("adding retention: %w", err)
	}
	if o.jobs {
		if err := jobs.New(mgr.GetClient(), mgr.GetEventRecorder("webhookdelivery-jobs")).SetupWithManager(mgr); err != nil {
			return err
		}
	}
	if o.fetch.Enabled() {
		endpoint, err := fetch.New(mgr.GetConfig(), mgr.GetHTTPClient(), mgr.GetAPIReader(), mgr.GetLogger(), o.fetch)
		if err != nil {
			return err
		}
		if err := mgr.Add(endpoint); err != nil {
			return fmt.Errorf("adding /fetch: %w", err)
		}
	}
	return nil
}

// addProbes adds the probes. Liveness asks nothing but the process itself: to end it for an outage of the API server
// would lose what it has sent and could not record yet.
func addProbes(mgr manager.Manager, labelled cache.Cache) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the liveness probe: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", cachesSynced(mgr.Elected(), mgr.GetCache(), labelled)); err != nil {
		return fmt.Errorf("adding the readiness probe: %w", err)
	}
	return nil
}

// cachesSynced holds for a standby, whose caches start with its election, and for a leader whose caches have synced.
func cachesSynced(elected <-chan struct{}, caches ...cache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		select {
		case <-elected:
		default:
			return nil
		}
		ctx, cancel := context.WithTimeout(req.Context(), 200*time.Millisecond)
		defer cancel()
		for _, c := range caches {
			if !c.WaitForCacheSync(ctx) {
				return errors.New("caches have not synced")
			}
		}
		return nil
	}
}

// manager is what the manager is made with.
func (o *options) manager(leadership *delivery.Leadership) ctrl.Options {
	graceful := o.delivery.ShutdownFlush + time.Second
	objects := o.cache(delivery.CachedObjects())
	if o.jobs {
		objects.ByObject[&batchv1.Job{}] = jobs.CachedObjects()
	}
	options := ctrl.Options{
		Scheme:                  scheme(),
		Cache:                   objects,
		Metrics:                 metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure},
		HealthProbeBindAddress:  o.probeAddress,
		PprofBindAddress:        o.pprofAddress,
		GracefulShutdownTimeout: &graceful,
	}
	if o.metricsSecure {
		options.Metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if leadership != nil {
		options.LeaderElection = true
		options.LeaderElectionResourceLockInterface = leadership
		options.LeaderElectionID = delivery.LeaseName // with a lock given, only what the metric calls it
		options.LeaderElectionReleaseOnCancel = true
		options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = &o.leaseDuration, &o.renewDeadline, &o.retryPeriod
	}
	return options
}

// rights checks the CRD, and that deliveries may be listed in the listed namespaces: those where they may not be are
// left out until that changes. Nil where no namespaces are listed.
func (o *options) rights(ctx context.Context, config *rest.Config) (*delivery.Rights, error) {
	live, err := client.New(config, client.Options{Scheme: scheme()})
	if err != nil {
		return nil, fmt.Errorf("preparing the first request: %w", err)
	}
	forbidden, err := delivery.CheckCRD(ctx, live, o.namespaces)
	if err != nil || len(o.namespaces) == 0 {
		return nil, err
	}
	listed := slices.Clone(o.namespaces)
	if len(forbidden) > 0 {
		ctrl.Log.Error(nil, "deliveries may not be listed in some of the listed namespaces: they are left out until they may",
			"namespaces", forbidden)
		o.namespaces = slices.DeleteFunc(o.namespaces, func(n string) bool { return slices.Contains(forbidden, n) })
		o.retention.Namespaces = o.namespaces
	}
	return delivery.NewRights(live, listed, forbidden), nil
}

// cache is what a cache of the given objects is made with.
func (o *options) cache(objects cache.ByObject) cache.Options {
	options := cache.Options{
		Scheme: scheme(), ByObject: map[client.Object]cache.ByObject{&v1alpha1.WebhookDelivery{}: objects},
	}
	for _, namespace := range o.namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// leadership is the lease that the replicas compete for; nil without leader election.
func (o *options) leadership(config *rest.Config) (*delivery.Leadership, error) {
	if !o.leaderElect {
		return nil, nil
	}
	return delivery.NewLeadership(config, o.leaderNamespace, o.leaseDuration, o.renewDeadline)
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	// Neither can fail: both add types of their own groups to an empty scheme.
	_ = clientgoscheme.AddToScheme(s)
	_ = v1alpha1.AddToScheme(s)
	return s
}

// options are what the flags set.
type options struct {
	policy   delivery.Policy
	delivery delivery.Options
	sender   sender.Config

	retention retention.Options
	fetch     fetch.Options
	jobs      bool

	namespaces   []string
	flushTimeout time.Duration

	leaderElect                               bool
	leaderNamespace                           string
	leaseDuration, renewDeadline, retryPeriod time.Duration

	metricsAddress, probeAddress, pprofAddress string
	metricsSecure                              bool

	log zap.Options
}

func defaultOptions() options {
	o := options{
		policy:   delivery.DefaultPolicy(),
		delivery: delivery.DefaultOptions(),
		sender: sender.Config{
			RequestTimeout: 10 * time.Second,
			UserAgent:      "webhook-delivery-operator/" + version,
			OnConnection:   delivery.CountConnection,
			OnReloadError:  func(err error) { ctrl.Log.Error(err, "the new CA bundle is not used") },
		},
	}
	o.retention, o.fetch = retention.DefaultOptions(), fetch.DefaultOptions()
	o.delivery.Limits.PerNamespace = 0 // half of the total, unless set
	return o
}

// bind declares the flags. Their defaults are the values that o has.
func (o *options) bind(f *flag.FlagSet) {
	o.bindDelivery(f)
	o.bindSender(f)
	o.bindRetention(f)
	o.fetch.Bind(f)
	f.BoolVar(&o.jobs, "jobs", false, "make deliveries of Jobs that are labelled for it: needs rights on Jobs")
	f.Func("namespaces", "comma-separated namespaces to watch (default all)", list(&o.namespaces, text))
	f.BoolVar(&o.leaderElect, "leader-elect", false, "let one of several replicas work, chosen by a Lease")
	f.StringVar(&o.leaderNamespace, "leader-election-namespace", "", "namespace of the Lease (default the pod's own)")
	f.DurationVar(&o.leaseDuration, "leader-election-lease-duration", 20*time.Second,
		"how long a replica that has vanished stays the leader")
	f.DurationVar(&o.renewDeadline, "leader-election-renew-deadline", 15*time.Second,
		"how long a leader that cannot renew its Lease goes on trying")
	f.DurationVar(&o.retryPeriod, "leader-election-retry-period", 2*time.Second,
		"how often the Lease is renewed, or tried for")
	f.DurationVar(&o.flushTimeout, "outcome-flush-timeout", 12*time.Second,
		"how long the process tries to record what it has sent before it exits without the lease")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "address to serve metrics on; 0 for none")
	f.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve metrics by HTTPS to whom RBAC lets read them")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "address to serve /healthz and /readyz on")
	f.StringVar(&o.pprofAddress, "pprof-bind-address", "", "loopback address to serve pprof on (default none)")
	o.log.BindFlags(f)
	_ = f.Set("zap-stacktrace-level", "panic") // an error is one line: its stack would show the queue, not the cause
}

func (o *options) bindDelivery(f *flag.FlagSet) {
	f.Func("retry-schedule", "comma-separated gaps between attempts (default 10s,30s,90s)",
		list(&o.policy.Schedule, time.ParseDuration))
	f.DurationVar(&o.policy.RetryAfterMax, "retry-after-max", o.policy.RetryAfterMax,
		"how far a receiver's Retry-After may lengthen a gap")
	f.DurationVar(&o.policy.SecretWaitTimeout, "secret-wait-timeout", o.policy.SecretWaitTimeout,
		"how long a delivery waits for its Secret before it is undeliverable")
	f.IntVar(&o.policy.MaxPayload, "max-payload", o.policy.MaxPayload, "largest payload to send, in bytes")
	f.IntVar(&o.delivery.Limits.Total, "max-requests", o.delivery.Limits.Total, "requests in flight at most")
	f.IntVar(&o.delivery.Limits.PerEndpoint, "max-requests-per-endpoint", o.delivery.Limits.PerEndpoint,
		"requests in flight at most to one scheme, host and port")
	f.IntVar(&o.delivery.Limits.PerNamespace, "max-requests-per-namespace", o.delivery.Limits.PerNamespace,
		"requests in flight at most for one namespace (default half of --max-requests)")
	f.IntVar(&o.delivery.MaxUnwritten, "max-unwritten", o.delivery.MaxUnwritten,
		"outcomes that may wait to be recorded before sending stops")
}

func (o *options) bindSender(f *flag.FlagSet) {
	f.DurationVar(&o.sender.RequestTimeout, "request-timeout", o.sender.RequestTimeout,
		"time for name resolution, connection, TLS, request and response header together")
	f.StringVar(&o.sender.CABundleFile, "ca-bundle", "",
		"PEM file of authorities to trust beside the system's; read again when it changes")
	f.BoolVar(&o.sender.AllowHTTP, "allow-http", false, "send to http URLs, too: for a mesh that encrypts")
	f.Func("allow-cidrs", "comma-separated address ranges to open, for receivers inside the cluster",
		list(&o.sender.AllowCIDRs, netip.ParsePrefix))
	f.Func("deny-cidrs", "comma-separated address ranges to close, for the API server and nodes; wins over --allow-cidrs",
		list(&o.sender.DenyCIDRs, netip.ParsePrefix))
	f.Func("allowed-ports",
		"comma-separated ports and ranges that may be sent to (default "+sender.DefaultPorts.String()+
			", with --allow-http 80, too)",
		func(s string) (err error) {
			o.sender.AllowedPorts, err = sender.ParsePorts(s)
			return err
		})
	f.Func("egress-proxy", "URL of an HTTP proxy that every request goes through by CONNECT (default none)",
		func(s string) (err error) {
			o.sender.EgressProxy, err = url.Parse(s)
			return err
		})
}

func (o *options) bindRetention(f *flag.FlagSet) {
	ttl := func(value **time.Duration) func(string) error {
		return func(s string) (err error) {
			*value, err = retention.ParseTTL(s)
			return err
		}
	}
	f.Func("ttl-delivered", "how long a Delivered object is kept, or never to delete it (default 24h)",
		ttl(&o.retention.Delivered))
	f.Func("ttl-undeliverable", "how long an Undeliverable object is kept, or never to delete it (default 168h)",
		ttl(&o.retention.Undeliverable))
	f.DurationVar(&o.retention.Interval, "retention-interval", o.retention.Interval,
		"how often finished objects are looked through")
	f.Float64Var(&o.retention.DeletesPerSecond, "retention-deletes-per-second", o.retention.DeletesPerSecond,
		"finished objects that may be deleted in a second: more than are created, or they pile up")
}

// list parses a comma-separated flag into values, replacing what they were.
func list[T any](values *[]T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		*values = nil
		for item := range strings.SplitSeq(s, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			v, err := parse(item)
			if err != nil {
				return err
			}
			*values = append(*values, v)
		}
		return nil
	}
}

func text(s string) (string, error) { return s, nil }

// complete fills in what follows from other settings, and refuses those that contradict each other.
func (o *options) complete() error {
	limits := &o.delivery.Limits
	if limits.PerNamespace == 0 {
		limits.PerNamespace = max(1, limits.Total/2)
	}
	limits.PerEndpoint = min(limits.PerEndpoint, limits.Total)
	if o.sender.AllowedPorts.String() == "" {
		o.sender.AllowedPorts = sender.DefaultPortsFor(o.sender.AllowHTTP)
	}
	o.retention.Namespaces = o.namespaces
	o.delivery.ShutdownFlush = o.sender.RequestTimeout + writeTime
	o.sender.MaxConnsPerEndpoint = limits.PerEndpoint
	o.sender.MaxIdleConns = 2 * limits.Total
	if need := o.sender.RequestTimeout + delivery.SendMargin + 2*o.retryPeriod; o.leaderElect && o.leaseDuration < need {
		return fmt.Errorf("--leader-election-lease-duration is %s, but must be at least %s: "+
			"a request, which may take %s, is only begun while the lease outlasts it", o.leaseDuration, need,
			o.sender.RequestTimeout)
	}
	if o.log.Level != nil && o.log.Level.Enabled(-bodyVerbosity) {
		return fmt.Errorf("--zap-log-level must be below %d: from there on client-go logs whole Secrets", bodyVerbosity)
	}
	if o.pprofAddress != "" {
		host, _, err := net.SplitHostPort(o.pprofAddress)
		if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
			return fmt.Errorf("--pprof-bind-address is %q, but must be a loopback address such as 127.0.0.1:6060",
				o.pprofAddress)
		}
	}
	return nil
}

// logSettings logs once what the operator works with.
func (o *options) logSettings(logger logr.Logger) {
	logger.Info("settings", "version", version,
		"retrySchedule", o.policy.Schedule, "retryAfterMax", o.policy.RetryAfterMax,
		"secretWaitTimeout", o.policy.SecretWaitTimeout, "maxPayload", o.policy.MaxPayload,
		"requestTimeout", o.sender.RequestTimeout, "maxRequests", o.delivery.Limits,
		"maxUnwritten", o.delivery.MaxUnwritten, "allowHTTP", o.sender.AllowHTTP,
		"allowCIDRs", o.sender.AllowCIDRs, "denyCIDRs", o.sender.DenyCIDRs,
		"allowedPorts", o.sender.AllowedPorts.String(), "egressProxy", o.sender.EgressProxy != nil,
		"caBundle", o.sender.CABundleFile, "namespaces", o.namespaces, "leaderElect", o.leaderElect,
		"leaseDuration", o.leaseDuration, "renewDeadline", o.renewDeadline, "outcomeFlushTimeout", o.flushTimeout,
		"ttlDelivered", retention.FormatTTL(o.retention.Delivered),
		"ttlUndeliverable", retention.FormatTTL(o.retention.Undeliverable),
		"retentionDeletesPerSecond", o.retention.DeletesPerSecond, "jobs", o.jobs, "fetch", o.fetch.BindAddress)
}
