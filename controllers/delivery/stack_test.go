// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
	"github.com/webhookdelivery/operator/hack/receiver/pipenet"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// post is a request as the receiver saw it.
type post struct {
	at     time.Duration // since the start of the test
	id     string
	secret string
	body   string
}

// answer is what the receiver does with the n-th request, which counts from 1.
type answer func(n int, w http.ResponseWriter, r *http.Request)

// stack is the operator's whole path in virtual time: a client that keeps objects in memory, the real informer, queue,
// controller and sender, and a receiver behind an in-memory network.
type stack struct {
	t       *testing.T
	start   time.Time // reset when the operator runs for the first time
	begin   sync.Once
	client  client.WithWatch
	events  *events.FakeRecorder
	network *pipenet.Listener
	server  *http.Server

	policy  Policy
	options Options
	// namespaces are those that are watched; nil: all, by one informer.
	namespaces map[string]cache.Config
	watchLag   time.Duration
	// mainLag is how much later still the view of unfinished objects is.
	mainLag time.Duration
	maySend func() bool
	// patch, if set, stands around every status write.
	patch func(write func() error) error

	// unanswered, if set, tells whether status writes get no answer.
	unanswered func() bool
	// forbids, if set, tells whether the operator lacks the right to write status in a namespace.
	forbids func(namespace string) bool
	// unlabel, if set, stands around every patch that takes a label away.
	unlabel func(write func() error) error
	// secretReads is how long it takes to read a Secret.
	secretReads time.Duration

	mu      sync.Mutex
	posts   []post
	writes  int
	watches []*delayedWatch
	reads   atomic.Int32

	// latest is the ledger of the last life of the operator.
	latest atomic.Pointer[ledger]
	// lost is how many requests were in flight or unwritten when processes ended.
	lost  int
	after []func()

	running *running
}

// settling is how long the operator takes to start.
const settling = time.Second

// running is one life of the operator.
type running struct {
	reconciler *Reconciler
	sender     *sender.Sender
	cancel     context.CancelFunc
	done       []chan struct{}
	// dead is set when the process has been killed: nothing that it does reaches the API server any more.
	dead atomic.Bool
}

// inVirtualTime runs test against a stack whose receiver answers with a.
func inVirtualTime(t *testing.T, a answer, test func(*stack)) {
	virtualtime.Test(t, func(t *testing.T) {
		s := &stack{
			t: t, start: time.Now(), events: events.NewFakeRecorder(1000), network: pipenet.Listen(),
			policy: DefaultPolicy(), options: DefaultOptions(),
		}
		s.options.ShutdownFlush = 25 * time.Second
		s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a(s.record(r), w, r)
		})}
		go s.server.Serve(s.network) //nolint:errcheck // ends with ErrServerClosed
		s.client = s.newClient()
		defer func() {
			s.stop()
			s.network.Close()
			s.server.Close()
			for _, end := range s.after {
				end()
			}
		}()
		test(s)
	})
}

// elapsed is the time since the start.
func (s *stack) elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.start)
}

// startedAt is when the time that elapsed tells began.
func (s *stack) startedAt() time.Time { return time.Now().Add(-s.elapsed()) }

// wait waits until so much time has elapsed.
func (s *stack) wait(until time.Duration) { time.Sleep(until - s.elapsed()) }

// atEnd calls end when everything has stopped.
func (s *stack) atEnd(end func()) { s.after = append(s.after, end) }

// record counts a request and returns its number.
func (s *stack) record(r *http.Request) int {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts = append(s.posts, post{
		time.Since(s.start), r.Header.Get("webhook-id"), r.Header.Get("x-webhook-secret"), string(body)})
	return len(s.posts)
}

func (s *stack) newClient() client.WithWatch {
	scheme := runtime.NewScheme()
	// No more than is needed: the client looks through all kinds at each patch.
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{})
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		s.t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper()).WithGlobalResourceVersionCounter().
		WithStatusSubresource(&v1alpha1.WebhookDelivery{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
				opts ...client.SubResourcePatchOption) error {
				if s.forbids != nil && s.forbids(o.GetNamespace()) {
					return apierrors.NewForbidden(deliveries, o.GetName(), errors.New(
						`User "operator" cannot patch resource "webhookdeliveries/status"`))
				}
				if s.unanswered != nil && s.unanswered() {
					<-ctx.Done()
					return ctx.Err()
				}
				write := func() error {
					err := c.SubResource(sub).Patch(ctx, o, p, opts...)
					if err == nil {
						s.mu.Lock()
						s.writes++
						s.mu.Unlock()
					}
					return err
				}
				if s.patch != nil {
					return s.patch(write)
				}
				return write()
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch,
				opts ...client.PatchOption) error {
				write := func() error { return c.Patch(ctx, o, p, opts...) }
				if s.unlabel != nil {
					return s.unlabel(write)
				}
				return write()
			},
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
				opts ...client.GetOption) error {
				s.reads.Add(1)
				if _, ok := o.(*corev1.Secret); ok {
					time.Sleep(s.secretReads)
				}
				return c.Get(ctx, key, o, opts...)
			},
		}).Build()
}

func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	gv := v1alpha1.GroupVersion
	m.AddSpecific(gv.WithKind("WebhookDelivery"), gv.WithResource("webhookdeliveries"),
		gv.WithResource("webhookdelivery"), meta.RESTScopeNamespace)
	m.Add(gv.WithKind("WebhookDeliveryList"), meta.RESTScopeNamespace) // as the mapper made from discovery has it
	m.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	return m
}

// run starts the operator.
func (s *stack) run() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	life := &running{cancel: cancel}
	objects := s.newCache(CachedObjects(), func(d *v1alpha1.WebhookDelivery) bool { return !d.IsFinished() }, s.mainLag)
	labelled := s.newCache(LabelledObjects(), isLabelled, 0)
	var err error
	life.sender, err = sender.New(sender.Config{
		RequestTimeout: 10 * time.Second, UserAgent: "test", AllowHTTP: true, AllowedPorts: sender.DefaultPorts,
		MaxConnsPerEndpoint: s.options.Limits.PerEndpoint, MaxIdleConns: 100, Dialer: s.network,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	life.reconciler, err = New(s.policy, s.options, Dependencies{
		Cache: objects, Labelled: labelled, Live: s.client, Writer: s.through(life), Events: s.events,
		Sender: life.sender, MaySend: s.maySend, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.latest.Store(life.reconciler.ledger)
	c, err := life.reconciler.newController(logr.Discard(), true)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, start := range []func(context.Context) error{objects.Start, labelled.Start, c.Start} {
		done := make(chan struct{})
		life.done = append(life.done, done)
		go func() {
			defer close(done)
			if err := start(ctx); err != nil {
				s.t.Error(err)
			}
		}()
	}
	// The informer starts in steps of a tenth of a second.
	if !objects.WaitForCacheSync(ctx) || !labelled.WaitForCacheSync(ctx) {
		s.t.Fatal("the cache does not sync")
	}
	time.Sleep(settling)
	s.begin.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.start = time.Now()
	})
	s.running = life
}

// newCache returns a cache of the objects that are selected, which is later than others.
func (s *stack) newCache(
	objects cache.ByObject, selects func(*v1alpha1.WebhookDelivery) bool, later time.Duration,
) cache.Cache {
	c, err := cache.New(&rest.Config{}, cache.Options{
		Scheme: s.client.Scheme(), Mapper: mapper(), DefaultNamespaces: s.namespaces,
		ByObject: map[client.Object]cache.ByObject{&v1alpha1.WebhookDelivery{}: objects},
		NewInformer: func(_ toolscache.ListerWatcher, o runtime.Object, resync time.Duration, ix toolscache.Indexers,
		) toolscache.SharedIndexInformer {
			return toolscache.NewSharedIndexInformer(&selected{s: s, selects: selects, later: later}, o, resync, ix)
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// stop ends the operator as SIGTERM does.
func (s *stack) stop() {
	if s.running == nil {
		return
	}
	s.running.cancel()
	flushing, cancel := context.WithTimeout(context.Background(), s.options.ShutdownFlush)
	defer cancel()
	if err := s.running.reconciler.Flush(flushing); err != nil {
		s.lose()
	}
	for _, done := range s.running.done {
		<-done
	}
	s.running.sender.Close()
	s.running = nil
}

// kill ends the operator as SIGKILL does: what it has in memory is lost, and requests in flight arrive or do not.
func (s *stack) kill() {
	s.running.dead.Store(true)
	s.lose()
	s.running.cancel()
	s.running.sender.Close()
	for _, done := range s.running.done {
		<-done
	}
	s.running = nil
}

// lose notes what the operator, which ends, has not recorded.
func (s *stack) lose() {
	unwritten, inFlight := s.running.reconciler.ledger.load()
	s.lost += unwritten + inFlight
}

// through is the client of one life of the operator.
func (s *stack) through(life *running) client.Client {
	killed := errors.New("killed")
	return interceptor.NewClient(s.client, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			opts ...client.SubResourcePatchOption) error {
			if life.dead.Load() {
				return killed
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch,
			opts ...client.PatchOption) error {
			if life.dead.Load() {
				return killed
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
}

func (s *stack) create(o client.Object) {
	s.t.Helper()
	o.SetResourceVersion("")
	if err := s.client.Create(context.Background(), o); err != nil {
		s.t.Fatal(err)
	}
}

// get returns the stored object.
func (s *stack) get(name string) *v1alpha1.WebhookDelivery {
	s.t.Helper()
	d := &v1alpha1.WebhookDelivery{}
	key := types.NamespacedName{Namespace: "tasks", Name: name}
	if err := s.client.Get(context.Background(), key, d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stack) update(name string, change func(*v1alpha1.WebhookDelivery)) {
	s.t.Helper()
	d := s.get(name)
	change(d)
	d.Generation++
	if err := s.client.Update(context.Background(), d); err != nil {
		s.t.Fatal(err)
	}
}

// seen are the requests so far.
func (s *stack) seen() []post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.posts)
}

// times are when the requests arrived.
func (s *stack) times() (times []time.Duration) {
	for _, p := range s.seen() {
		times = append(times, p.at.Truncate(time.Millisecond))
	}
	return times
}

func (s *stack) counts() (posts, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.posts), s.writes
}

// selected lists and watches what the API server would under a selector, watchLag late.
type selected struct {
	s       *stack
	selects func(*v1alpha1.WebhookDelivery) bool
	later   time.Duration

	mu sync.Mutex
	// known is what its client has been told of.
	known map[types.UID]*v1alpha1.WebhookDelivery
}

func (*selected) IsWatchListSemanticsUnSupported() bool { return true }

func (l *selected) List(metav1.ListOptions) (runtime.Object, error) {
	var all v1alpha1.WebhookDeliveryList
	if err := l.s.client.List(context.Background(), &all); err != nil {
		return nil, err
	}
	some := all.DeepCopy()
	some.Items = slices.DeleteFunc(some.Items, func(d v1alpha1.WebhookDelivery) bool { return !l.selects(&d) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = map[types.UID]*v1alpha1.WebhookDelivery{}
	for i := range some.Items {
		l.known[some.Items[i].UID] = some.Items[i].DeepCopy()
	}
	return some, nil
}

// Watch begins with what has happened since the version that is asked for.
func (l *selected) Watch(options metav1.ListOptions) (watch.Interface, error) {
	in, err := l.s.client.Watch(context.Background(), &v1alpha1.WebhookDeliveryList{})
	if err != nil {
		return nil, err
	}
	var all v1alpha1.WebhookDeliveryList
	if err := l.s.client.List(context.Background(), &all); err != nil {
		return nil, err
	}
	var missed, changed []watch.Event
	gone := l.knows()
	for i := range all.Items {
		delete(gone, all.Items[i].UID)
		if isOlder(options.ResourceVersion, all.Items[i].ResourceVersion) {
			changed = append(changed, watch.Event{Type: watch.Modified, Object: &all.Items[i]})
		}
	}
	for _, d := range gone { // before what may have been created in its place
		missed = append(missed, watch.Event{Type: watch.Deleted, Object: d})
	}
	slices.SortFunc(changed, func(a, b watch.Event) int {
		order, _ := resourceversion.CompareResourceVersion(versionOf(a), versionOf(b))
		return order
	})
	missed = append(missed, changed...)
	w := l.delayed(in, missed)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.watches = append(l.s.watches, w)
	return w, nil
}

func versionOf(e watch.Event) string { return e.Object.(*v1alpha1.WebhookDelivery).ResourceVersion }

func (l *selected) knows() map[types.UID]*v1alpha1.WebhookDelivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.known)
}

// sees tells whether the client is told of e, and makes it what the API server would: what is not selected any more is
// deleted for this client, and what never was is not told at all.
func (l *selected) sees(e *watch.Event) bool {
	d, ok := e.Object.(*v1alpha1.WebhookDelivery)
	if !ok || e.Type == watch.Bookmark {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Type != watch.Deleted && l.selects(d) {
		l.known[d.UID] = d.DeepCopy()
		return true
	}
	e.Type = watch.Deleted
	_, seen := l.known[d.UID]
	delete(l.known, d.UID)
	return seen
}

// cutWatches ends all watches, as an API server does that ends.
func (s *stack) cutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		w.Stop()
	}
	s.watches = nil
}

// delayedWatch hands on the events of in, each later by a lag.
type delayedWatch struct {
	in   watch.Interface
	out  chan watch.Event
	stop chan struct{}
	once sync.Once
}

// delayed hands on what was missed, and then the events of in, as far as they are to be seen.
func (l *selected) delayed(in watch.Interface, missed []watch.Event) *delayedWatch {
	w := &delayedWatch{in: in, out: make(chan watch.Event), stop: make(chan struct{})}
	queue := make(chan stamped, 10000)
	go func() {
		defer close(queue)
		l.enqueue(queue, in, missed)
	}()
	go func() {
		defer close(w.out)
		for e := range queue {
			select {
			case <-time.After(time.Until(e.due)):
			case <-w.stop:
				return
			}
			if !l.sees(&e.Event) {
				continue
			}
			select {
			case w.out <- e.Event:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

// stamped is an event that the client is told of when it is due.
type stamped struct {
	watch.Event

	due time.Time
}

// enqueue queues events until in ends. A minute after one that may have been kept from the client comes a bookmark, as
// from an API server.
func (l *selected) enqueue(queue chan<- stamped, in watch.Interface, missed []watch.Event) {
	var newest, reached string
	var bookmark, settled <-chan time.Time
	add := func(e watch.Event) { queue <- stamped{inOrder(e, &newest), time.Now().Add(l.s.watchLag + l.later)} }
	for _, e := range missed {
		add(e)
	}
	for {
		select {
		case e, ok := <-in.ResultChan():
			if !ok {
				return
			}
			add(e)
			if bookmark == nil {
				bookmark = time.After(time.Minute)
			}
		case <-bookmark:
			bookmark, reached = nil, l.s.version()
			settled = time.After(1) // by then, all that is older has come
		case <-settled:
			d := &v1alpha1.WebhookDelivery{}
			d.ResourceVersion = reached
			add(watch.Event{Type: watch.Bookmark, Object: d})
		}
	}
}

// version is what the API server has come to.
func (s *stack) version() string {
	var all v1alpha1.WebhookDeliveryList
	if err := s.client.List(context.Background(), &all); err != nil {
		s.t.Error(err)
	}
	return all.ResourceVersion
}

// inOrder gives a deletion the version that the watch has come to. The fake client tells of the object's last one, so that
// versions would go back; an API server tells of the deletion's own.
func inOrder(e watch.Event, newest *string) watch.Event {
	d, ok := e.Object.(*v1alpha1.WebhookDelivery)
	switch {
	case !ok:
	case isOlder(*newest, d.ResourceVersion):
		*newest = d.ResourceVersion
	case e.Type == watch.Deleted || e.Type == watch.Bookmark:
		d = d.DeepCopy()
		d.ResourceVersion = *newest
		e.Object = d
	}
	return e
}

func (w *delayedWatch) ResultChan() <-chan watch.Event { return w.out }

func (w *delayedWatch) Stop() {
	w.once.Do(func() {
		w.in.Stop()
		close(w.stop)
	})
}
