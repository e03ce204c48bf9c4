// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// fixture is a Reconciler of an API server in memory.
type fixture struct {
	t        *testing.T
	client   client.Client
	recorder *events.FakeRecorder
	*Reconciler

	// onCreate and onPatch, if set, stand before the call: what they return is the answer, unless that is nil.
	onCreate, onPatch func() error
	creates, patches  int
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{t: t, recorder: events.NewFakeRecorder(100)}
	f.client = fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(objects...).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				f.creates++
				if f.onCreate != nil {
					if err := f.onCreate(); err != nil {
						return err
					}
				}
				return errors.Join(ctx.Err(), c.Create(ctx, o, opts...))
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				f.patches++
				if f.onPatch != nil {
					if err := f.onPatch(); err != nil {
						return err
					}
				}
				return errors.Join(ctx.Err(), c.Patch(ctx, o, p, opts...))
			},
		}).Build()
	f.restart()
	return f
}

// restart forgets what only the process knows.
func (f *fixture) restart() { f.Reconciler = New(f.client, f.recorder) }

func (f *fixture) reconcile(req request) error {
	f.t.Helper()
	result, err := f.Reconcile(f.t.Context(), req)
	if !result.IsZero() {
		f.t.Errorf("got %v", result)
	}
	return err
}

func (f *fixture) byName(name string) error {
	f.t.Helper()
	return f.reconcile(request{NamespacedName: client.ObjectKey{Namespace: "tasks", Name: name}})
}

func (f *fixture) asDeleted(job *batchv1.Job, seen time.Time) error {
	f.t.Helper()
	return f.reconcile(request{client.ObjectKeyFromObject(job), &deletedJob{job, seen}})
}

func (f *fixture) deliveries() (names []string) {
	f.t.Helper()
	var list v1alpha1.WebhookDeliveryList
	if err := f.client.List(f.t.Context(), &list); err != nil {
		f.t.Fatal(err)
	}
	for _, d := range list.Items {
		names = append(names, d.Name)
	}
	return names
}

// annotations are those of the operator on the Job.
func (f *fixture) annotations(name string) (notified, notifyError string) {
	f.t.Helper()
	var job batchv1.Job
	if err := f.client.Get(f.t.Context(), client.ObjectKey{Namespace: "tasks", Name: name}, &job); err != nil {
		f.t.Fatal(err)
	}
	return job.Annotations[AnnotationNotified], job.Annotations[AnnotationNotifyError]
}

// check compares what is stored with what should be.
func (f *fixture) check(deliveries []string, notified, notifyError string) {
	f.t.Helper()
	if diff := cmp.Diff(deliveries, f.deliveries()); diff != "" {
		f.t.Errorf("deliveries (-want +got):\n%s", diff)
	}
	gotNotified, gotError := f.annotations("a")
	if gotNotified != notified || gotError != notifyError {
		f.t.Errorf("notified is %q and the error %q, want %q and %q", gotNotified, gotError, notified, notifyError)
	}
}

// warnings takes the events so far.
func (f *fixture) warnings() (warnings []string) {
	for {
		select {
		case w := <-f.recorder.Events:
			warnings = append(warnings, w)
		default:
			return warnings
		}
	}
}

const nameA = "a-" + uid

func TestFinishedJobIsAnnouncedOnce(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj())
	created := testutil.ToFloat64(jobsTotal.WithLabelValues(resultCreated))
	for range 3 {
		if err := f.byName("a"); err != nil {
			t.Fatal(err)
		}
		f.check([]string{nameA}, nameA, "")
	}
	if f.creates != 1 || f.patches != 1 || len(f.warnings()) != 0 {
		t.Errorf("%d creates, %d patches, want one of each and no event", f.creates, f.patches)
	}
	if got := testutil.ToFloat64(jobsTotal.WithLabelValues(resultCreated)) - created; got != 1 {
		t.Errorf("counted %v times", got)
	}
}

func TestNotified(t *testing.T) {
	for name, job := range map[string]*batchv1.Job{
		"running":           makeJob("a").started().obj(),
		"notified":          makeJob("a").complete().annotated(AnnotationNotified, "").obj(),
		"notified, and bad": makeJob("a").complete().annotated(AnnotationURL, "").annotated(AnnotationNotified, "d").obj(),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, job)
			if err := f.byName("a"); err != nil {
				t.Fatal(err)
			}
			if f.creates+f.patches != 0 {
				t.Errorf("%d creates, %d patches, want none", f.creates, f.patches)
			}
		})
	}
}

func TestRestartBetweenCreateAndAnnotate(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj())
	f.onPatch = func() error { return errors.New("killed") }
	if err := f.byName("a"); err == nil {
		t.Error("no error, so that nothing would be tried again")
	}
	f.check([]string{nameA}, "", "")
	f.onPatch = nil
	f.restart()
	if err := f.byName("a"); err != nil {
		t.Fatal(err)
	}
	f.check([]string{nameA}, nameA, "")
}

// The annotation may be late by longer than the delivery lives.
func TestDeliveryIsGoneBeforeTheAnnotation(t *testing.T) {
	job := makeJob("a").complete().obj()
	f := newFixture(t, job)
	f.onPatch = func() error { return errors.New("later") }
	if err := f.byName("a"); err == nil {
		t.Error("no error, so that nothing would be tried again")
	}
	if err := f.client.DeleteAllOf(t.Context(), &v1alpha1.WebhookDelivery{}, client.InNamespace("tasks")); err != nil {
		t.Fatal(err)
	}
	f.onPatch = nil
	if err := errors.Join(f.asDeleted(job, time.Now()), f.byName("a")); err != nil {
		t.Fatal(err)
	}
	f.check(nil, nameA, "")
}

func TestAnswerToCreateIsLost(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj())
	f.onCreate = func() error {
		d, _ := delivery(makeJob("a").complete().obj())
		f.onCreate = nil
		return errors.Join(f.client.Create(t.Context(), d), errors.New("connection reset"))
	}
	if err := f.byName("a"); err == nil {
		t.Error("no error, so that nothing would be tried again")
	}
	f.check([]string{nameA}, "", "")
	if err := f.byName("a"); err != nil {
		t.Fatal(err)
	}
	f.check([]string{nameA}, nameA, "")
}

func TestExistsAndIsGoneAgain(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj())
	f.onCreate = func() error { return apierrors.NewAlreadyExists(schema.GroupResource{}, nameA) }
	if err := f.byName("a"); err != nil {
		t.Fatal(err)
	}
	f.check(nil, nameA, "")
}

func TestForeignDelivery(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj(), &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tasks", Name: nameA, Labels: map[string]string{LabelJobUID: "another"},
	}})
	const want = "the WebhookDelivery " + nameA + " exists and is not labelled as this Job's"
	for range 2 {
		if err := f.byName("a"); err != nil {
			t.Fatal(err)
		}
		f.check([]string{nameA}, "", want)
	}
	if w := f.warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
		t.Errorf("events %q, want one", w)
	}
}

func TestBadAnnotationIsExplainedOnceForEachChange(t *testing.T) {
	f := newFixture(t, makeJob("a").started().annotated(AnnotationTaskID, "").obj())
	refused := testutil.ToFloat64(jobsTotal.WithLabelValues(resultRefused))
	change := func(annotation, value string) {
		t.Helper()
		var job batchv1.Job
		if err := f.client.Get(t.Context(), client.ObjectKey{Namespace: "tasks", Name: "a"}, &job); err != nil {
			t.Fatal(err)
		}
		job.Annotations[annotation] = value
		if err := f.client.Update(t.Context(), &job); err != nil {
			t.Fatal(err)
		}
	}
	explained := func(want string) {
		t.Helper()
		for range 3 {
			if err := f.byName("a"); err != nil {
				t.Fatal(err)
			}
		}
		f.check(nil, "", want)
		w := f.warnings()
		if len(w) != min(1, len(want)) || (want != "" && !strings.HasPrefix(w[0], "Warning NotificationRefused") ||
			!strings.Contains(strings.Join(w, ""), want)) {
			t.Errorf("events %q, want one of %q", w, want)
		}
	}
	explained("annotation webhookdelivery.dev/task-id is empty")
	change(AnnotationTaskID, "t")
	change(AnnotationResult, "[]")
	explained("annotation webhookdelivery.dev/result: must be a JSON object, not array")
	change(AnnotationResult, "{}")
	explained("")
	if f.patches != 3 {
		t.Errorf("%d patches, want 3", f.patches)
	}
	if got := testutil.ToFloat64(jobsTotal.WithLabelValues(resultRefused)) - refused; got != 2 {
		t.Errorf("%v explanations were counted, want 2", got)
	}
}

func TestErrorsOfCreate(t *testing.T) {
	kind := v1alpha1.GroupVersion.WithKind("WebhookDelivery").GroupKind()
	resource := schema.GroupResource{Group: kind.Group, Resource: "webhookdeliveries"}
	terminating := apierrors.NewForbidden(resource, nameA, errors.New("namespace tasks is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	invalid := apierrors.NewInvalid(kind, nameA, field.ErrorList{
		field.Invalid(field.NewPath("spec", "url"), "b", "second"), field.Invalid(field.NewPath("spec", "tls"), "a", "first"),
		field.Invalid(field.NewPath("spec", "url"), "b", "second"),
	})
	const refused = `spec.tls: Invalid value: "a": first; spec.url: Invalid value: "b": second`
	for name, test := range map[string]struct {
		err         error
		notifyError string
		retry       bool
		deleted     bool // what a Job that has been deleted gets: tried again
	}{
		"invalid": {invalid, refused, false, false},
		"forbidden": {apierrors.NewForbidden(resource, nameA, errors.New("exceeded quota")),
			`webhookdeliveries.webhookdelivery.dev "` + nameA + `" is forbidden: exceeded quota`, true, true},
		"bad request":         {apierrors.NewBadRequest("too deep"), "too deep", false, false},
		"too large":           {apierrors.NewRequestEntityTooLargeError("3 MiB"), "Request entity too large: 3 MiB", false, false},
		"terminating":         {terminating, "", false, false},
		"no namespace":        {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "tasks"), "", false, false},
		"no CRD":              {apierrors.NewNotFound(resource, nameA), "", true, true},
		"internal":            {apierrors.NewInternalError(errors.New("etcd is away")), "", true, true},
		"no API server":       {errors.New("connection refused"), "", true, true},
		"too many at a time":  {apierrors.NewTooManyRequests("slow down", 1), "", true, true},
		"the request is late": {apierrors.NewTimeoutError("late", 1), "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, makeJob("a").complete().obj())
			f.onCreate = func() error { return test.err }
			for range 2 {
				if err := f.byName("a"); (err != nil) != test.retry {
					t.Errorf("got %v, want an error: %t", err, test.retry)
				}
			}
			f.check(nil, "", test.notifyError)
			if w := f.warnings(); len(w) != min(1, len(test.notifyError)) {
				t.Errorf("events %q", w)
			}
			f.onCreate = nil
			if err := f.byName("a"); err != nil {
				t.Error(err)
			}
			f.check([]string{nameA}, nameA, "")
		})
		t.Run(name+", deleted", func(t *testing.T) {
			f := newFixture(t)
			f.onCreate = func() error { return test.err }
			job := makeJob("a").complete().obj()
			if err := f.asDeleted(job, time.Now()); (err != nil) != test.deleted {
				t.Errorf("got %v, want an error: %t", err, test.deleted)
			}
			told := len(f.warnings())
			if test.deleted && told > 0 {
				t.Error("it is told with each try, as there is no Job to note it on")
			}
			if err := f.asDeleted(job, time.Now().Add(-keepDeleted-time.Second)); err != nil {
				t.Errorf("after %v: %v, so that it would be kept for ever", keepDeleted, err)
			}
			if told += len(f.warnings()); (told == 0) != isNamespaceGone(test.err) {
				t.Errorf("%d events", told)
			}
			if len(f.deliveries()) != 0 {
				t.Errorf("deliveries %v", f.deliveries())
			}
		})
	}
}

func TestDeletedJob(t *testing.T) {
	f := newFixture(t)
	job := makeJob("a").failed("DeadlineExceeded", "").obj()
	for range 2 {
		if err := f.asDeleted(job, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.deliveries(); !slices.Equal(got, []string{nameA}) || f.creates != 1 {
		t.Errorf("deliveries %v after %d creates", got, f.creates)
	}
	if err := f.byName("a"); err != nil {
		t.Errorf("a Job that is gone: %v", err)
	}
}

func TestShutdownFinishesWhatHasBegun(t *testing.T) {
	f := newFixture(t, makeJob("a").complete().obj())
	ctx, cancel := context.WithCancel(t.Context())
	var seen error
	f.onCreate = func() error {
		cancel()
		return nil
	}
	f.onPatch = func() error {
		seen = ctx.Err()
		return nil
	}
	req := request{NamespacedName: client.ObjectKey{Namespace: "tasks", Name: "a"}}
	if _, err := f.Reconcile(ctx, req); err != nil {
		t.Error(err)
	}
	if seen == nil {
		t.Error("the context had not ended")
	}
	f.check([]string{nameA}, nameA, "")
}
