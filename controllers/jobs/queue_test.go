// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package jobs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func version(v string) func(*batchv1.Job) { return func(j *batchv1.Job) { j.ResourceVersion = v } }

func TestWhatIsEnqueued(t *testing.T) {
	running := makeJob("a").started().with(version("1"))
	ended := makeJob("a").complete().with(version("2"))
	notified := makeJob("a").complete().annotated(AnnotationNotified, "d").with(version("3"))
	other := makeJob("a").with(func(j *batchv1.Job) { j.UID, j.ResourceVersion = "other", "4" })
	const byName, asDeleted = "by name", "as deleted"
	update := func(old, current *jobBuilder) func(queue) {
		return func(q queue) {
			enqueuer{}.Update(t.Context(), event.TypedUpdateEvent[*batchv1.Job]{ObjectOld: old.obj(), ObjectNew: current.obj()}, q)
		}
	}
	deleted := func(b *jobBuilder) func(queue) {
		return func(q queue) {
			enqueuer{}.Delete(t.Context(), event.TypedDeleteEvent[*batchv1.Job]{Object: b.obj()}, q)
		}
	}
	created := func(b *jobBuilder) func(queue) {
		return func(q queue) {
			enqueuer{}.Create(t.Context(), event.TypedCreateEvent[*batchv1.Job]{Object: b.obj(), IsInInitialList: true}, q)
		}
	}
	for name, test := range map[string]struct {
		event func(queue)
		want  []string
	}{
		"created":                        {created(running), []string{byName}},
		"found ended":                    {created(ended), []string{byName}},
		"found notified":                 {created(notified), nil},
		"ends":                           {update(running, ended), []string{byName}},
		"is notified":                    {update(ended, notified), nil},
		"goes on":                        {update(running, makeJob("a").started().with(version("2"))), nil},
		"resync":                         {update(ended, ended), []string{byName}},
		"is explained":                   {update(ended, makeJob("a").complete().annotated(AnnotationNotifyError, "no").with(version("3"))), nil},
		"is corrected":                   {update(running, makeJob("a").started().annotated(AnnotationURL, "b").with(version("2"))), []string{byName}},
		"is un-notified":                 {update(notified, ended), []string{byName}},
		"deleted while running":          {deleted(running), nil},
		"deleted after the end":          {deleted(ended), []string{asDeleted}},
		"deleted after the notification": {deleted(notified), nil},
		"replaced while running":         {update(running, other), []string{byName}},
		"replaced after the end":         {update(ended, other), []string{asDeleted, byName}},
		"generic": {func(q queue) {
			enqueuer{}.Generic(t.Context(), event.TypedGenericEvent[*batchv1.Job]{Object: ended.obj()}, q)
		}, []string{byName}},
	} {
		t.Run(name, func(t *testing.T) {
			q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[request]())
			defer q.ShutDown()
			test.event(q)
			var got []string
			for q.Len() > 0 {
				req, _ := q.Get()
				if req.Namespace != "tasks" || req.Name != "a" {
					t.Errorf("enqueued %v", req)
				}
				kind := byName
				if req.deleted != nil {
					kind = asDeleted
					if diff := cmp.Diff(ended.obj(), req.deleted.job); diff != "" {
						t.Errorf("the last state (-want +got):\n%s", diff)
					}
				}
				got = append(got, kind)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEverythingHasTheSamePriority(t *testing.T) {
	q := priorityqueue.New[request]("test")
	defer q.ShutDown()
	enqueuer{}.Create(t.Context(), event.TypedCreateEvent[*batchv1.Job]{Object: makeJob("a").obj(), IsInInitialList: true}, q)
	enqueuer{}.Delete(t.Context(), event.TypedDeleteEvent[*batchv1.Job]{Object: makeJob("b").complete().obj()}, q)
	for range 2 {
		req, priority, _ := q.GetWithPriority()
		if priority != 0 {
			t.Errorf("%s has priority %d, want 0", req.Name, priority)
		}
		q.Done(req)
	}
}

func TestStrip(t *testing.T) {
	full := makeJob("a").annotated(AnnotationTaskID, "t").annotated("kubectl.kubernetes.io/last-applied-configuration", "{}").
		complete().with(func(j *batchv1.Job) {
		j.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		j.OwnerReferences = []metav1.OwnerReference{{Kind: "CronJob"}}
		j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "busybox"}}
		j.Status.Succeeded = 1
		j.Status.CompletedIndexes = "0-100"
	})
	want := makeJob("a").annotated(AnnotationTaskID, "t").complete().with(func(j *batchv1.Job) { j.Labels = nil })
	got, err := strip(full.obj())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.obj(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	done, err := strip(full.annotated(AnnotationNotified, "d").obj())
	if err != nil {
		t.Fatal(err)
	}
	wantDone := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tasks", Name: "a", UID: uid, Annotations: map[string]string{AnnotationNotified: "d"},
	}}
	if diff := cmp.Diff(wantDone, done); diff != "" {
		t.Errorf("of a Job that is done with (-want +got):\n%s", diff)
	}
}
