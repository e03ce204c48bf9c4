// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

// marker is in every payload, and must be in no answer.
const marker = "this is the payload"

var (
	plane *controlplane.ControlPlane // with the CRD
	admin client.Client
	cfg   *rest.Config // may list and delete deliveries, and nothing else
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	ctrl.SetLogger(logr.Discard())
	// The API server forgets old states every second instead of some minutes, so that lists that go on expire.
	args := map[string][]string{
		"etcd-compaction-interval": {"1s"}, "feature-gates": {"ListFromCacheSnapshot=false"},
	}
	var err error
	if plane, err = controlplane.Start(ctx, controlplane.Options{APIServerArgs: args}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	scheme := runtime.NewScheme()
	err = errors.Join(plane.Apply(ctx, "../../config/crd"), plane.Apply(ctx, "testdata/rbac.yaml"),
		v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme))
	if err == nil {
		admin, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	}
	if err == nil {
		cfg, err = plane.User("sweeper")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func createNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := admin.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) { // with -count
		t.Fatal(err)
	}
	// What one test leaves behind would be due in the next.
	t.Cleanup(func() {
		err := admin.DeleteAllOf(context.Background(), &v1alpha1.WebhookDelivery{}, client.InNamespace(name))
		if err != nil {
			t.Error(err)
		}
	})
}

// create creates a delivery; an empty phase is one that the operator has not seen yet.
func create(
	t *testing.T, namespace, name string, phase v1alpha1.Phase, ago time.Duration, ttl *int32,
) *v1alpha1.WebhookDelivery {
	t.Helper()
	d := &v1alpha1.WebhookDelivery{}
	d.Namespace, d.Name = namespace, name
	d.Spec.URL = "https://receiver.example/webhook"
	d.Spec.TTLSecondsAfterFinished = ttl
	var err error
	if d.Spec.Payload, err = payload.New(map[string]string{"task_id": name, "text": marker}); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if phase == "" {
		return d
	}
	before := d.DeepCopy()
	d.Status.Phase = phase
	if d.IsFinished() {
		d.Status.CompletionTime = &metav1.Time{Time: time.Now().Add(-ago)}
	}
	if err := admin.Status().Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	return d
}

// names are the deliveries that are left in a namespace, in order.
func names(t *testing.T, namespace string) (names []string) {
	t.Helper()
	var list v1alpha1.WebhookDeliveryList
	if err := admin.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Items {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return names
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// start runs a Sweeper until the test ends.
func start(t *testing.T, config *rest.Config, options Options) {
	t.Helper()
	s, err := New(config, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// recorder keeps the bodies of the answers to GET.
type recorder struct {
	next http.RoundTripper

	mu     sync.Mutex
	bodies []string
}

func record(config *rest.Config) (*rest.Config, *recorder) {
	r := &recorder{}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		r.next = next
		return r
	})
	return config, r
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, string(body))
	return resp, err
}

func (r *recorder) answers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

func TestSweep(t *testing.T) {
	const ns = "sweep"
	createNamespace(t, ns)
	const year = 365 * 24 * time.Hour
	delivered, undeliverable := v1alpha1.PhaseDelivered, v1alpha1.PhaseUndeliverable
	for i := range 7 {
		create(t, ns, fmt.Sprint("zero-", i), delivered, 0, new(int32(0)))
	}
	create(t, ns, "never", delivered, year, nil)
	create(t, ns, "own-long", delivered, time.Hour, new(int32(7200)))
	create(t, ns, "own-over", delivered, 3*time.Hour, new(int32(7200)))
	create(t, ns, "undeliverable-old", undeliverable, 2*time.Hour, nil)
	create(t, ns, "undeliverable-young", undeliverable, time.Minute, nil)
	create(t, ns, "unseen", "", 0, new(int32(0)))
	create(t, ns, "pending", v1alpha1.PhasePending, 0, new(int32(0)))
	create(t, ns, "retrying", v1alpha1.PhaseRetrying, 0, new(int32(0)))

	config, answers := record(cfg)
	start(t, config, Options{
		Interval: 200 * time.Millisecond, Undeliverable: new(time.Hour), PageSize: 2, DeletesPerSecond: 100, DeletesAtOnce: 4,
	})
	want := []string{"never", "own-long", "pending", "retrying", "undeliverable-young", "unseen"}
	eventually(t, "what is due is gone", func() bool { return len(names(t, ns)) <= len(want) })
	// Three more objects for two more sweeps: what is left stays.
	for i := range 3 {
		create(t, ns, fmt.Sprint("later-", i), undeliverable, 0, new(int32(0)))
		eventually(t, "a later one is gone", func() bool { return len(names(t, ns)) <= len(want) })
	}
	if diff := cmp.Diff(want, names(t, ns)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	pages := 0
	for _, body := range answers.answers() {
		if !strings.Contains(body, `"kind":"Table"`) {
			t.Errorf("an answer is no Table: %.200s", body)
		}
		if strings.Contains(body, marker) {
			t.Errorf("an answer holds a payload: %s", body)
		}
		if strings.Contains(body, `"continue":"`) {
			pages++
		}
	}
	if pages < 3 {
		t.Errorf("%d pages were followed by another, want at least 3", pages)
	}
}

func TestNotEarlyAndNotLate(t *testing.T) {
	const ns, interval = "punctual", time.Second
	createNamespace(t, ns)
	due := map[string]time.Time{}
	for i := range 5 {
		d := create(t, ns, fmt.Sprint("after-", i), v1alpha1.PhaseDelivered, 0, new(int32(i)))
		due[d.Name] = d.Status.CompletionTime.Truncate(time.Second).Add(time.Duration(i) * time.Second)
	}
	start(t, cfg, Options{Interval: interval, PageSize: 100, DeletesPerSecond: 1000, DeletesAtOnce: 4})
	began := time.Now()
	gone := map[string]time.Time{}
	eventually(t, "all are gone", func() bool {
		left, now := names(t, ns), time.Now()
		for name := range due {
			if _, seen := gone[name]; !seen && !slices.Contains(left, name) {
				gone[name] = now
			}
		}
		return len(left) == 0
	})
	for name, at := range due {
		if gone[name].Before(at) {
			t.Errorf("%s was gone %v early", name, at.Sub(gone[name]))
		}
		if at.Before(began) {
			at = began
		}
		if late := gone[name].Sub(at); late > interval+time.Second {
			t.Errorf("%s was gone %v late", name, late)
		}
	}
}

func TestChangedMeanwhile(t *testing.T) {
	const ns = "changed"
	createNamespace(t, ns)
	for name, change := range map[string]func(*v1alpha1.WebhookDelivery) error{
		"changed": func(d *v1alpha1.WebhookDelivery) error {
			return admin.Patch(t.Context(), d, client.RawPatch(types.MergePatchType,
				[]byte(`{"spec":{"ttlSecondsAfterFinished":3600}}`)))
		},
		"redelivered": func(d *v1alpha1.WebhookDelivery) error {
			return admin.Status().Patch(t.Context(), d, client.RawPatch(types.MergePatchType,
				[]byte(`{"status":{"phase":"Pending","completionTime":null,"redeliveries":1}}`)))
		},
		"replaced": func(d *v1alpha1.WebhookDelivery) error {
			if err := admin.Delete(t.Context(), d); err != nil {
				return err
			}
			create(t, ns, d.Name, v1alpha1.PhaseDelivered, 0, nil)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := create(t, ns, name, v1alpha1.PhaseDelivered, 0, new(int32(0)))
			a, seen := see(t, ns, name)
			if err := change(d); err != nil {
				t.Fatal(err)
			}
			if err := a.delete(t.Context(), seen); !apierrors.IsConflict(err) {
				t.Errorf("deleting it got %v, want a conflict", err)
			}
			if !slices.Contains(names(t, ns), name) {
				t.Error("it is gone")
			}
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		create(t, ns, "unchanged", v1alpha1.PhaseDelivered, 0, new(int32(0)))
		a, seen := see(t, ns, "unchanged")
		if err := a.delete(t.Context(), seen); err != nil {
			t.Error(err)
		}
		if err := a.delete(t.Context(), seen); !apierrors.IsNotFound(err) {
			t.Errorf("deleting it again got %v, want not found", err)
		}
	})
}

// see lists an object as a sweep does.
func see(t *testing.T, namespace, name string) (*api, object) {
	t.Helper()
	a, err := newAPI(cfg, 100)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.list(t.Context(), namespace, v1alpha1.PhaseDelivered, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range p.rows {
		if f.Name == name {
			return a, f.object
		}
	}
	t.Fatalf("%s is not among %v", name, p.rows)
	return nil, object{}
}

func TestExpiredListGoesOn(t *testing.T) {
	const ns = "expired"
	createNamespace(t, ns)
	for i := range 5 {
		create(t, ns, fmt.Sprint("d-", i), v1alpha1.PhaseDelivered, time.Hour, new(int32(0)))
	}
	a, err := newAPI(cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.list(t.Context(), ns, v1alpha1.PhaseDelivered, "")
	if err != nil {
		t.Fatal(err)
	}
	// The API server forgets the state of the first page only once there are newer ones.
	writes := 0
	eventually(t, "the list expires", func() bool {
		create(t, ns, fmt.Sprint("e-", writes), v1alpha1.PhaseRetrying, 0, nil)
		writes++
		_, err := a.list(t.Context(), ns, v1alpha1.PhaseDelivered, first.next)
		return apierrors.IsResourceExpired(err)
	})
	// A sweep that is in the middle of this list goes on with what the API server offers.
	s := newSweeper(stale{a, first}, a, DefaultOptions(), logr.Discard())
	found := &earliest{limit: 100}
	if err := s.collect(t.Context(), ns, v1alpha1.PhaseDelivered, nil, found); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range found.sorted() {
		got = append(got, d.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"d-0", "d-1", "d-2", "d-3", "d-4"}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// stale answers with an old first page.
type stale struct {
	lister
	first page
}

func (s stale) list(ctx context.Context, namespace string, phase v1alpha1.Phase, token string) (page, error) {
	if token == "" {
		return s.first, nil
	}
	return s.lister.list(ctx, namespace, phase, token)
}

func TestNamespacesOnly(t *testing.T) {
	createNamespace(t, "mine")
	createNamespace(t, "others")
	if err := plane.Apply(t.Context(), "testdata/namespaced.yaml"); err != nil {
		t.Fatal(err)
	}
	config, err := plane.User("namespaced")
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"mine", "others"} {
		create(t, namespace, "zero", v1alpha1.PhaseDelivered, 0, new(int32(0)))
	}
	start(t, config, Options{
		Interval: 100 * time.Millisecond, PageSize: 10, DeletesPerSecond: 100, DeletesAtOnce: 4, Namespaces: []string{"mine"},
	})
	eventually(t, "the one in its namespace is gone", func() bool { return len(names(t, "mine")) == 0 })
	if diff := cmp.Diff([]string{"zero"}, names(t, "others")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOldCRD(t *testing.T) {
	const crd = "webhookdeliveries.webhookdelivery.dev"
	columns, err := plane.Kubectl(t.Context(), "get", "crd", crd, "-o",
		"jsonpath={.spec.versions[0].additionalPrinterColumns}")
	if err != nil {
		t.Fatal(err)
	}
	setColumns := func(columns string) {
		patch := `[{"op":"replace","path":"/spec/versions/0/additionalPrinterColumns","value":` + columns + `}]`
		if _, err := plane.Kubectl(context.Background(), "patch", "crd", crd, "--type=json", "-p", patch); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { setColumns(columns) })
	setColumns(`[{"name":"TTL","type":"integer","jsonPath":".spec.ttlSecondsAfterFinished"}]`)
	s, err := New(cfg, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the columns are missed", func() bool {
		found, err := s.sweep(t.Context())
		return len(found) == 0 && err != nil && strings.HasSuffix(err.Error(), errColumns.Error())
	})
}
