// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

var (
	plane    *controlplane.ControlPlane // with the CRD
	schemeOf = runtime.NewScheme()
	admin    client.Client // plays the user and the Job controller
	user     *rest.Config  // has the rights of testdata/rbac.yaml
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctrl.SetLogger(logr.Discard())
	ctx := context.Background()
	var err error
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	err = errors.Join(plane.Apply(ctx, "../../config/crd"), plane.Apply(ctx, "testdata/rbac.yaml"),
		clientgoscheme.AddToScheme(schemeOf), v1alpha1.AddToScheme(schemeOf))
	if err == nil {
		admin, err = client.New(plane.Config(), client.Options{Scheme: schemeOf})
	}
	if err == nil {
		user, err = plane.User("jobs-controller")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// world is a namespace of the API server, and the controller.
type world struct {
	t         *testing.T
	namespace string
	*Reconciler
	stop func()
}

func newWorld(t *testing.T, namespace string) *world {
	t.Helper()
	namespace += "-" + rand.String(5) // a new one with -count, too
	if _, err := plane.Kubectl(t.Context(), "create", "namespace", namespace); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, namespace: namespace}
}

// start runs the controller for this namespace, with what change makes of it, until stop or the end of the test.
func (w *world) start(change func(*Reconciler)) {
	w.t.Helper()
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Scheme: schemeOf,
		Cache: cache.Options{
			ByObject:          map[client.Object]cache.ByObject{&batchv1.Job{}: CachedObjects()},
			DefaultNamespaces: map[string]cache.Config{w.namespace: {}},
		},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Reconciler = New(mgr.GetClient(), mgr.GetEventRecorder("jobs"))
	if change != nil {
		change(w.Reconciler)
	}
	if err := w.SetupWithManager(mgr); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				w.t.Error(err)
			}
		}
	}
	w.t.Cleanup(w.stop)
}

// create creates a Job that the API server accepts.
func (w *world) create(b *jobBuilder) *batchv1.Job {
	w.t.Helper()
	job := b.with(func(j *batchv1.Job) {
		j.Namespace, j.UID = w.namespace, ""
		j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "busybox"}}
	}).obj()
	if err := admin.Create(w.t.Context(), job); err != nil {
		w.t.Fatal(err)
	}
	return job
}

// set changes the status as the Job controller would.
func (w *world) set(job *batchv1.Job, change func(*batchv1.JobStatus)) {
	w.t.Helper()
	before := job.DeepCopy()
	change(&job.Status)
	if err := admin.Status().Patch(w.t.Context(), job, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
}

func add1(s *batchv1.JobStatus, kind batchv1.JobConditionType, reason, message string) {
	s.Conditions = append(s.Conditions, batchv1.JobCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastProbeTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	})
}

// begin and succeed are the three steps of a Job that goes well: its pods run, they have ended, it is complete.
func begin(s *batchv1.JobStatus) {
	s.StartTime, s.Active = new(metav1.Now()), 1
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
}

func criteriaMet(s *batchv1.JobStatus) {
	s.Active, s.Terminating = 0, new(int32(1))
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"pod"}}
	add1(s, batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

func complete(s *batchv1.JobStatus) {
	s.Succeeded, s.Terminating, s.CompletionTime = 1, new(int32(0)), new(metav1.Now())
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	add1(s, batchv1.JobComplete, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

const tooOften = "Job has reached the specified backoff limit"

func failureTarget(s *batchv1.JobStatus) {
	s.Active, s.Terminating = 0, new(int32(1))
	add1(s, batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, tooOften)
}

func failed(s *batchv1.JobStatus) {
	s.Failed, s.Terminating = 1, new(int32(0))
	add1(s, batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, tooOften)
}

// succeed and fail run a Job to its end.
func (w *world) succeed(job *batchv1.Job) {
	w.t.Helper()
	for _, step := range []func(*batchv1.JobStatus){begin, criteriaMet, complete} {
		w.set(job, step)
	}
}

func (w *world) fail(job *batchv1.Job) {
	w.t.Helper()
	for _, step := range []func(*batchv1.JobStatus){begin, failureTarget, failed} {
		w.set(job, step)
	}
}

func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	err := wait.PollUntilContextTimeout(w.t.Context(), 20*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		w.t.Fatalf("waiting until %s: %v", what, err)
	}
}

// job returns the Job as it is stored.
func (w *world) job(name string) *batchv1.Job {
	w.t.Helper()
	job := &batchv1.Job{}
	if err := admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, job); err != nil {
		w.t.Fatal(err)
	}
	return job
}

func (w *world) deliveries() []v1alpha1.WebhookDelivery {
	w.t.Helper()
	var list v1alpha1.WebhookDeliveryList
	if err := admin.List(w.t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// notified waits until the operator is done with the Job, and its cache knows.
func (w *world) notified(name string) {
	w.t.Helper()
	w.eventually(name+" is notified", func() bool {
		job := &batchv1.Job{}
		err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, job)
		return err == nil && isNotified(job)
	})
}

// checkOnly checks that there is one delivery, that of job, and that the Job is annotated with it.
func (w *world) checkOnly(job *batchv1.Job) *v1alpha1.WebhookDelivery {
	w.t.Helper()
	all := w.deliveries()
	if len(all) != 1 {
		w.t.Fatalf("%d deliveries, want 1", len(all))
	}
	d := &all[0]
	if want := job.Name + "-" + string(job.UID); d.Name != want || d.Labels[LabelJobUID] != string(job.UID) {
		w.t.Errorf("the delivery is %s with labels %v, want %s", d.Name, d.Labels, want)
	}
	if len(d.OwnerReferences)+len(d.Finalizers) != 0 {
		w.t.Errorf("the delivery has owners %v and finalizers %v", d.OwnerReferences, d.Finalizers)
	}
	if stored := w.job(job.Name); stored.Annotations[AnnotationNotified] != d.Name || len(stored.Finalizers) != 0 {
		w.t.Errorf("the Job has annotations %v and finalizers %v", stored.Annotations, stored.Finalizers)
	}
	return d
}

// checkPayload compares a delivery's payload, in which times are replaced by their names.
func (w *world) checkPayload(d *v1alpha1.WebhookDelivery, job *batchv1.Job, want string) {
	w.t.Helper()
	job = w.job(job.Name)
	end := job.Status.CompletionTime
	if end == nil {
		end = &endOf(job).LastTransitionTime
	}
	r := strings.NewReplacer("UID", string(job.UID), "START", job.Status.StartTime.UTC().Format(time.RFC3339),
		"END", end.UTC().Format(time.RFC3339))
	var got, wanted any
	if err := errors.Join(json.Unmarshal(d.Spec.Payload.Raw, &got), json.Unmarshal([]byte(r.Replace(want)), &wanted)); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		w.t.Errorf("payload (-want +got):\n%s", diff)
	}
}

func TestJobFinishes(t *testing.T) {
	w := newWorld(t, "finishes")
	w.start(nil)
	job := w.create(makeJob("render").annotated(AnnotationSecretName, "hook").annotated(AnnotationTaskType, "imagine").
		annotated(AnnotationResult, `{"status":"unknown","image_urls":["https://cdn.example/0.png"]}`))
	for _, step := range []func(*batchv1.JobStatus){begin, criteriaMet} {
		w.set(job, step)
		w.eventually("the cache has it", func() bool {
			cached := &batchv1.Job{}
			return w.client.Get(t.Context(), client.ObjectKeyFromObject(job), cached) == nil &&
				cached.ResourceVersion == job.ResourceVersion
		})
		if _, err := w.Reconcile(t.Context(), request{NamespacedName: client.ObjectKeyFromObject(job)}); err != nil {
			t.Error(err)
		}
		if got := w.deliveries(); len(got) != 0 {
			t.Fatalf("there are deliveries before the end: %v", got)
		}
	}
	w.set(job, complete)
	w.notified(job.Name)
	d := w.checkOnly(job)
	w.checkPayload(d, job, `{"task_id":"UID","task_type":"imagine","status":"finished","percentage":"100",
		"started_at":"START","completed_at":"END","image_urls":["https://cdn.example/0.png"]}`)
	if d.Spec.URL != "https://receiver.example/webhook" || d.Spec.SecretRef == nil || d.Spec.SecretRef.Name != "hook" ||
		d.Spec.SecretRef.Key != "webhook-secret" {
		t.Errorf("spec is %+v", d.Spec)
	}
	if d.Labels[LabelJobName] != "render" {
		t.Errorf("labels are %v", d.Labels)
	}
}

func TestJobFails(t *testing.T) {
	w := newWorld(t, "fails")
	w.start(nil)
	job := w.create(makeJob("render").annotated(AnnotationTaskID, "task-1"))
	w.fail(job)
	w.notified(job.Name)
	w.checkPayload(w.checkOnly(job), job, `{"task_id":"task-1","task_type":"job","status":"failed",
		"error":"BackoffLimitExceeded: Job has reached the specified backoff limit",
		"started_at":"START","completed_at":"END"}`)
}

// A Job may end in many ways of running. Those without the label do not matter.
func TestKindsOfJobs(t *testing.T) {
	w := newWorld(t, "kinds")
	w.start(nil)
	suspend := func(j *batchv1.Job) { j.Spec.Suspend = new(true) }
	indexed := func(j *batchv1.Job) {
		j.Spec.CompletionMode = new(batchv1.IndexedCompletion)
		j.Spec.Completions, j.Spec.Parallelism = new(int32(3)), new(int32(3))
		j.Spec.BackoffLimitPerIndex = new(int32(0))
	}
	scheduled := func(j *batchv1.Job) {
		j.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "cron", Controller: new(true),
		}}
		j.Annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = "2026-01-02T03:04:00Z"
	}
	unlabelled := w.create(makeJob("unlabelled").with(func(j *batchv1.Job) { j.Labels = nil }))
	declined := w.create(makeJob("declined").with(func(j *batchv1.Job) { j.Labels[LabelNotify] = "false" }))
	asleep := w.create(makeJob("asleep").with(suspend))
	w.set(asleep, func(s *batchv1.JobStatus) { add1(s, batchv1.JobSuspended, "JobSuspended", "Job suspended") })
	jobs := map[string]*batchv1.Job{
		"nightly-29384720": w.create(makeJob("nightly-29384720").with(scheduled)),
		"nightly-29384721": w.create(makeJob("nightly-29384721").with(scheduled)),
		"indexed":          w.create(makeJob("indexed").with(indexed)),
		"half":             w.create(makeJob("half").with(indexed)),
		"resumed":          w.create(makeJob("resumed").with(suspend)),
		"nothing-to-do":    w.create(makeJob("nothing-to-do").with(suspend).with(func(j *batchv1.Job) { j.Spec.Completions = new(int32(0)) })),
	}
	for _, job := range []*batchv1.Job{unlabelled, declined, jobs["nightly-29384720"]} {
		w.succeed(job)
	}
	w.fail(jobs["nightly-29384721"])
	w.set(jobs["indexed"], begin)
	w.set(jobs["indexed"], criteriaMet)
	w.set(jobs["indexed"], func(s *batchv1.JobStatus) { complete(s); s.CompletedIndexes = "0-2" })
	w.set(jobs["half"], begin)
	w.set(jobs["half"], failureTarget)
	w.set(jobs["half"], func(s *batchv1.JobStatus) { failed(s); s.CompletedIndexes, s.FailedIndexes = "0,2", new("1") })
	resumed := jobs["resumed"]
	w.set(resumed, func(s *batchv1.JobStatus) { add1(s, batchv1.JobSuspended, "JobSuspended", "Job suspended") })
	if err := admin.Patch(t.Context(), resumed, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":false}}`))); err != nil {
		t.Fatal(err)
	}
	w.set(resumed, func(s *batchv1.JobStatus) { begin(s); s.Conditions[0].Status = corev1.ConditionFalse })
	w.set(resumed, criteriaMet)
	w.set(resumed, complete)
	w.set(jobs["nothing-to-do"], func(s *batchv1.JobStatus) {
		add1(s, batchv1.JobSuccessCriteriaMet, "", "")
		add1(s, batchv1.JobComplete, "", "")
		s.CompletionTime = new(metav1.Now())
	})
	want := map[string]string{}
	for name := range jobs {
		w.notified(name)
		want[name] = "finished"
	}
	want["nightly-29384721"], want["half"] = "failed", "failed"
	got := map[string]string{}
	for _, d := range w.deliveries() {
		var members map[string]string
		if err := json.Unmarshal(d.Spec.Payload.Raw, &members); err != nil {
			t.Fatal(err)
		}
		got[d.Labels[LabelJobName]] = members[status]
		if members[taskID] != string(jobs[d.Labels[LabelJobName]].UID) {
			t.Errorf("%s has task_id %s", d.Name, members[taskID])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// gate holds reads from the cache up until it is opened.
type gate struct {
	client.Client

	waiting, open chan struct{}
}

func (g gate) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	select {
	case g.waiting <- struct{}{}:
	default:
	}
	<-g.open
	return g.Client.Get(ctx, key, o, opts...)
}

func TestJobIsDeletedAtOnce(t *testing.T) {
	w := newWorld(t, "deleted")
	waiting, open := make(chan struct{}, 100), make(chan struct{})
	w.start(func(r *Reconciler) { r.client = gate{r.client, waiting, open} })
	running := w.create(makeJob("running"))
	w.set(running, begin)
	job := w.create(makeJob("hasty"))
	for range 2 {
		<-waiting // both Jobs have been seen, and cannot be read until they are gone
	}
	w.fail(job)
	for _, j := range []*batchv1.Job{job, running} {
		if err := admin.Delete(t.Context(), j, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the Job is announced", func() bool { return len(w.deliveries()) == 1 })
	close(open)
	w.eventually("the cache is empty", func() bool {
		return apierrors.IsNotFound(w.client.Get(t.Context(), client.ObjectKeyFromObject(running), &batchv1.Job{}))
	})
	next := w.create(makeJob("hasty")) // the same name
	w.succeed(next)
	w.notified(next.Name)
	got := map[string]string{}
	for _, d := range w.deliveries() {
		got[d.Labels[LabelJobUID]] = d.Name
	}
	want := map[string]string{string(job.UID): "hasty-" + string(job.UID), string(next.UID): "hasty-" + string(next.UID)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// noPatch is a process that ends before it annotates.
type noPatch struct{ client.Client }

func (noPatch) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errors.New("the process has ended")
}

func TestRestartBeforeTheAnnotation(t *testing.T) {
	w := newWorld(t, "restart")
	w.start(func(r *Reconciler) { r.client = noPatch{r.client} })
	job := w.create(makeJob("a"))
	w.succeed(job)
	w.eventually("the delivery is created", func() bool { return len(w.deliveries()) == 1 })
	first := w.deliveries()[0]
	w.stop()
	if isNotified(w.job("a")) {
		t.Fatal("the Job is annotated")
	}
	w.start(nil)
	w.notified("a")
	if d := w.checkOnly(job); d.UID != first.UID {
		t.Error("it is another delivery")
	}
}

func TestEndsWhileTheOperatorIsDown(t *testing.T) {
	w := newWorld(t, "down")
	job := w.create(makeJob("a"))
	w.succeed(job)
	w.start(nil)
	w.notified("a")
	w.checkOnly(job)
}

func TestNotAgainAfterTheDeliveryIsDeleted(t *testing.T) {
	w := newWorld(t, "again")
	w.start(nil)
	job := w.create(makeJob("a"))
	w.succeed(job)
	w.notified("a")
	if err := admin.Delete(t.Context(), w.checkOnly(job)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start(nil) // nothing is remembered
	next := w.create(makeJob("b"))
	w.succeed(next)
	w.notified("b")
	if _, err := w.Reconcile(t.Context(), request{NamespacedName: client.ObjectKeyFromObject(job)}); err != nil {
		t.Error(err)
	}
	if err := admin.Delete(t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the deletion is seen", func() bool {
		return apierrors.IsNotFound(w.client.Get(t.Context(), client.ObjectKeyFromObject(job), &batchv1.Job{}))
	})
	w.checkOnly(next)
}

func TestBadAnnotationsAreTold(t *testing.T) {
	w := newWorld(t, "bad")
	w.start(nil)
	patch := func(job *batchv1.Job, body string) {
		t.Helper()
		if err := admin.Patch(t.Context(), job, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	told := func(name, want string) {
		t.Helper()
		w.eventually(fmt.Sprintf("%s is told %q", name, want), func() bool {
			got := w.job(name).Annotations[AnnotationNotifyError]
			return strings.Contains(got, want) && (want != "" || got == "")
		})
	}
	early := w.create(makeJob("early").annotated(AnnotationResult, "no JSON")) // told before it starts
	told("early", "annotation webhookdelivery.dev/result: must be a JSON object")
	patch(early, `{"metadata":{"annotations":{"webhookdelivery.dev/result":null}}}`)
	told("early", "")

	// What only the API server finds is told at the end.
	const hidden = "hidden"
	late := w.create(makeJob("late").annotated(AnnotationURL, `https://me:`+hidden+`@receiver.example/"ü"?token=`+hidden+"#"+hidden))
	w.succeed(late)
	told("late", "spec.url: ")
	told("late", "must not contain '@'")
	if got := w.job("late").Annotations[AnnotationNotifyError]; strings.Contains(got, hidden) || !strings.Contains(got, "(the URL)") {
		t.Errorf("the explanation shows the URL: %s", got)
	}
	if got := w.deliveries(); len(got) != 0 {
		t.Errorf("deliveries: %v", got)
	}
	for _, name := range []string{"early", "late"} {
		w.eventually("there is an event of "+name, func() bool {
			var events eventsv1.EventList
			if err := admin.List(t.Context(), &events, client.InNamespace(w.namespace)); err != nil {
				t.Fatal(err)
			}
			count := 0
			for _, e := range events.Items {
				if strings.Contains(e.Note, hidden) {
					t.Errorf("an event shows the URL: %s", e.Note)
				}
				if e.Regarding.Name == name && e.Regarding.Kind == "Job" && e.Reason == "NotificationRefused" &&
					e.Type == corev1.EventTypeWarning && e.Series == nil {
					count++
				}
			}
			return count == 1
		})
	}
	patch(late, `{"metadata":{"annotations":{"webhookdelivery.dev/url":"https://receiver.example/webhook"}}}`)
	w.notified("late")
	w.checkOnly(late)
	told("late", "")
}

// A patch that is meant for a Job does not reach another one of the same name.
func TestAnnotatingAnotherJob(t *testing.T) {
	w := newWorld(t, "other")
	w.start(nil)
	job := w.create(makeJob("a").with(func(j *batchv1.Job) { j.Labels = nil }))
	earlier := job.DeepCopy()
	earlier.UID = uid
	for name, j := range map[string]*batchv1.Job{"another UID": earlier, "no such Job": makeJob("b").obj()} {
		if err := w.annotate(t.Context(), j, map[string]any{AnnotationNotified: "d"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if isNotified(w.job("a")) {
		t.Error("the wrong Job is annotated")
	}
	if err := w.annotate(t.Context(), job, map[string]any{AnnotationNotified: strings.Repeat("a", 1<<20)}); err == nil {
		t.Error("an annotation that the API server refuses is no error")
	}
	if err := w.annotate(t.Context(), job, map[string]any{AnnotationNotified: "d"}); err != nil || !isNotified(w.job("a")) {
		t.Errorf("the Job is not annotated, with error %v", err)
	}
}
