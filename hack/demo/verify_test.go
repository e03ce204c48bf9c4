// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/jobs"
	"github.com/webhookdelivery/operator/hack/receiver"
)

const took = 5 * time.Millisecond // from each request's arrival to its answer

// asPromised is the evidence of a run in which every attempt was made at its earliest time.
func asPromised() evidence {
	applied := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := evidence{
		applied: applied, jobEnded: applied, secretApplied: applied.Add(20 * time.Second),
		notified: finishedJob + "-job-uid", secrets: []string{"my-secret"}, log: "INFO started\n",
		events: "LAST SEEN  TYPE  REASON  OBJECT  MESSAGE\n" +
			"3s  Warning  RetriesExhausted  webhookdelivery/broken-receiver  all 4 attempts failed\n",
	}
	for _, x := range expectations {
		d := made(x, applied)
		var at time.Duration
		if x.late {
			at = 20 * time.Second
			e.statusWrites++
		}
		for i, answer := range x.all() {
			switch {
			case i == len(x.answers):
				at += took
				e.labelled = applied.Add(at)
			case i > 0:
				at += took + schedule[i-1]
			}
			e.requests = append(e.requests, receiver.Record{
				Arrived: applied.Add(at), Elapsed: at, Took: took, WebhookID: string(d.UID), Status: answer,
				Secret: receiver.Passed, Signature: receiver.Passed, BodySHA256: sha256.Sum256(d.Spec.Payload.Raw),
			})
			e.statusWrites++
		}
		e.firstRound = append(e.firstRound, d)
		if x.again != 0 {
			e.statusWrites++
			e.fetched = fetched{code: 200, phase: "Undeliverable", body: d.Spec.Payload.Raw}
			e.refused = fetched{code: 404, body: []byte(`{"error":"no"}`)}
			x.phase, x.reason, x.answers = v1alpha1.PhaseDelivered, v1alpha1.ReasonSucceeded, []int{x.again}
			d = made(x, applied)
			d.Status.Redeliveries = 1
		}
		e.deliveries = append(e.deliveries, d)
	}
	return e
}

// made is a delivery that ended as expected.
func made(x expectation, at time.Time) v1alpha1.WebhookDelivery {
	d := v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Name: x.name, UID: types.UID(x.name + "-uid")}}
	d.Spec.Payload = payload.Payload{Raw: []byte(`{"name":"` + x.name + `"}`)}
	if x.job {
		d.Name, d.Labels = x.name+"-job-uid", map[string]string{jobs.LabelJobName: x.name}
		d.Spec.Payload.TaskID = "job-uid"
	}
	d.Status.Phase = x.phase
	d.Status.CompletionTime = &metav1.Time{Time: at}
	d.Status.Conditions = []metav1.Condition{{Type: string(x.phase), Status: "True", Reason: string(x.reason)}}
	for i, answer := range x.answers {
		d.Status.Attempts = append(d.Status.Attempts, v1alpha1.Attempt{Number: int32(i + 1), StatusCode: int32(answer)})
	}
	return d
}

func (e *evidence) delivery(name string) *v1alpha1.WebhookDelivery {
	return expectation{name: name}.in(e.deliveries)
}

// given is the delivery that was given up, as it was then.
func (e *evidence) given() *v1alpha1.WebhookDelivery {
	return expectation{name: missed}.in(e.firstRound)
}

// request returns the n-th request of the named delivery, counted from 1.
func (e *evidence) request(name string, n int) *receiver.Record {
	for i := range e.requests {
		if e.requests[i].WebhookID == name+"-uid" {
			if n--; n == 0 {
				return &e.requests[i]
			}
		}
	}
	return nil
}

// shift makes the n-th request of the named delivery and those after it come later, and a label between them, too.
func (e *evidence) shift(name string, n int, by time.Duration) {
	if name == missed && n <= len(schedule)+1 {
		e.labelled = e.labelled.Add(by)
	}
	for ; e.request(name, n) != nil; n++ {
		r := e.request(name, n)
		r.Arrived, r.Elapsed = r.Arrived.Add(by), r.Elapsed+by
	}
}

func TestVerify(t *testing.T) {
	const late = 1 * time.Millisecond
	tests := map[string]struct {
		change func(e *evidence)
		want   []string // the beginnings of the problems, in order
	}{
		"as promised": {change: func(*evidence) {}},
		"a wrong phase": {
			change: func(e *evidence) { e.delivery("failed-task").Status.Phase = v1alpha1.PhaseRetrying },
			want:   []string{"failed-task: phase is Retrying, want Delivered"},
		},
		"a wrong reason": {
			change: func(e *evidence) { e.given().Status.Conditions[0].Reason = "Expired" },
			want:   []string{"broken-receiver: condition Undeliverable is"},
		},
		"a condition that is not True": {
			change: func(e *evidence) { e.delivery("failed-task").Status.Conditions[0].Status = "False" },
			want:   []string{"failed-task: condition Delivered is"},
		},
		"no condition": {
			change: func(e *evidence) { e.given().Status.Conditions = nil },
			want:   []string{"broken-receiver: condition Undeliverable is"},
		},
		"no completionTime": {
			change: func(e *evidence) { e.delivery("finished-task").Status.CompletionTime = nil },
			want:   []string{"finished-task: completionTime"},
		},
		"a nextAttemptTime left": {
			change: func(e *evidence) { e.given().Status.NextAttemptTime = &metav1.MicroTime{} },
			want:   []string{"broken-receiver: completionTime"},
		},
		"an attempt missing in the status": {
			change: func(e *evidence) {
				d := e.delivery("recovering-receiver")
				d.Status.Attempts = d.Status.Attempts[:1]
			},
			want: []string{"recovering-receiver: status has attempts with codes [503], want [503 200]"},
		},
		"an attempt misnumbered": {
			change: func(e *evidence) { e.delivery("recovering-receiver").Status.Attempts[1].Number = 3 },
			want:   []string{"recovering-receiver: attempt 2 has number 3"},
		},
		"an object missing": {
			change: func(e *evidence) { e.deliveries = e.deliveries[1:] },
			want:   []string{"finished-task: it does not exist", "1 requests have a webhook-id"},
		},
		"a duplicate request": {
			change: func(e *evidence) { e.requests = append(e.requests, *e.request("finished-task", 1)) },
			want: []string{
				"finished-task: the receiver answered [200 200], want [200]",
				"finished-task: request 2 came -0.005 s after the answer to request 1, want 10.000 to 13.000 s",
			},
		},
		"more requests than the schedule has": {
			change: func(e *evidence) { e.requests = append(e.requests, *e.request("broken-receiver", 4)) },
			want:   []string{"broken-receiver: the receiver answered [503 503 503 503 200 503], want"},
		},
		"no request": {
			change: func(e *evidence) { e.requests = e.requests[1:] },
			want:   []string{"finished-task: the receiver answered [], want [200]"},
		},
		"a new webhook-id at the retry": {
			change: func(e *evidence) { e.request("recovering-receiver", 2).WebhookID = "other" },
			want: []string{
				"recovering-receiver: the receiver answered [503], want [503 200]",
				"1 requests have a webhook-id that is no delivery's UID",
			},
		},
		"another body at the retry": {
			change: func(e *evidence) { e.request("recovering-receiver", 2).BodySHA256[0]++ },
			want:   []string{"recovering-receiver: request 2: the body"},
		},
		"a wrong secret": {
			change: func(e *evidence) { e.request("failed-task", 1).Secret = receiver.Wrong },
			want:   []string{"failed-task: request 1: secret wrong, signature passed"},
		},
		"no signature": {
			change: func(e *evidence) { e.request("failed-task", 1).Signature = receiver.Missing },
			want:   []string{"failed-task: request 1: secret passed, signature missing"},
		},
		"the first attempt as late as may be": {
			change: func(e *evidence) { e.shift("finished-task", 1, promptly) },
		},
		"the first attempt late": {
			change: func(e *evidence) { e.shift("finished-task", 1, promptly+late) },
			want:   []string{"finished-task: request 1 came 10.001 s after the samples were applied, want 0.000 to 10.000 s"},
		},
		"retries as late as may be": {
			change: func(e *evidence) {
				e.shift("broken-receiver", 2, 3*time.Second)
				e.shift("broken-receiver", 3, 5*time.Second)
				e.shift("broken-receiver", 4, 11*time.Second)
			},
		},
		"the first retry late": {
			change: func(e *evidence) { e.shift("broken-receiver", 2, 3*time.Second+late) },
			want:   []string{"broken-receiver: request 2 came 13.001 s after the answer to request 1, want 10.000 to 13.000"},
		},
		"the last retry late": {
			change: func(e *evidence) { e.shift("broken-receiver", 4, 11*time.Second+late) },
			want:   []string{"broken-receiver: request 4 came 101.001 s after the answer to request 3, want 90.000 to 101.000"},
		},
		"a retry early": {
			change: func(e *evidence) { e.shift("broken-receiver", 3, -late) },
			want:   []string{"broken-receiver: request 3 came 29.999 s after the answer to request 2"},
		},
		"a request before its Secret": {
			change: func(e *evidence) { e.shift("waiting-for-secret", 1, -late) },
			want:   []string{"waiting-for-secret: request 1 came -0.001 s after the Secret was applied"},
		},
		"a request without its Secret": {
			change: func(e *evidence) { e.secretApplied = time.Time{} },
			want:   []string{"waiting-for-secret: a request came without the Secret"},
		},
		"a Secret noticed late": {
			change: func(e *evidence) { e.shift("waiting-for-secret", 1, secretPoll+slack+late) },
			want:   []string{"waiting-for-secret: request 1 came 32.001 s after"},
		},
		"the Job's delivery late": {
			change: func(e *evidence) { e.shift(finishedJob, 1, promptly+late) },
			want:   []string{"finished-job: request 1 came 10.001 s after the Job was ended"},
		},
		"the Job made no delivery": {
			change: func(e *evidence) { e.deliveries = e.deliveries[:len(e.deliveries)-1] },
			want:   []string{"finished-job: it does not exist", "1 requests have a webhook-id"},
		},
		"the Job does not know its delivery": {
			change: func(e *evidence) { e.notified = "" },
			want:   []string{"finished-job: the Job is annotated with \"\""},
		},
		"another task_id than the Job's": {
			change: func(e *evidence) { e.deliveries[len(e.deliveries)-1].Spec.Payload.TaskID = "other" },
			want:   []string{"finished-job: the Job is annotated with"},
		},
		"not given up in time": {
			change: func(e *evidence) { e.firstRound = nil },
			want:   []string{"broken-receiver: it was not given up in time"},
		},
		"the redelivery failed": {
			change: func(e *evidence) { e.delivery(missed).Status.Phase = v1alpha1.PhaseRetrying },
			want:   []string{"broken-receiver: phase is Retrying, want Delivered"},
		},
		"the redelivery is not counted": {
			change: func(e *evidence) { e.delivery(missed).Status.Redeliveries = 0 },
			want:   []string{"broken-receiver: redeliveries is 0"},
		},
		"the label stays": {
			change: func(e *evidence) { e.delivery(missed).Labels = map[string]string{v1alpha1.LabelRedeliver: "true"} },
			want:   []string{"broken-receiver: redeliveries is 1"},
		},
		"the redelivery comes late": {
			change: func(e *evidence) { e.shift(missed, 5, promptly+took+late) },
			want:   []string{"broken-receiver: request 5 came 10.006 s after it was labelled"},
		},
		"/fetch gives something else": {
			change: func(e *evidence) { e.fetched.body = []byte("{}") },
			want:   []string{"/fetch answered 200, phase Undeliverable and 2 bytes, want 200"},
		},
		"/fetch gives nothing": {
			change: func(e *evidence) { e.fetched = fetched{code: 404} },
			want:   []string{"/fetch answered 404, phase "},
		},
		"/fetch takes any secret": {
			change: func(e *evidence) { e.refused = e.fetched },
			want:   []string{"/fetch answered 200 to a wrong secret"},
		},
		"a write too many": {
			change: func(e *evidence) { e.statusWrites++ },
			want:   []string{"the API server counted 14 writes of status, want 13"},
		},
		"no event": {
			change: func(e *evidence) { e.events = "No resources found" },
			want:   []string{"broken-receiver: its events have the reasons [], want [RetriesExhausted]"},
		},
		"an event of a success": {
			change: func(e *evidence) { e.events += "3s Normal Succeeded webhookdelivery/finished-task delivered\n" },
			want:   []string{"finished-task: its events have the reasons [Succeeded], want []"},
		},
		"a secret in the log": {
			change: func(e *evidence) { e.log += "header my-secret\n" },
			want:   []string{"the manager's log has a secret in it"},
		},
		"a right missing": {
			change: func(e *evidence) { e.log += "ERROR leases is forbidden\n" },
			want:   []string{"config/rbac lacks something: ERROR leases is forbidden"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := asPromised()
			tc.change(&e)
			got := verify(expectations, e)
			for i, problem := range got {
				if i < len(tc.want) && strings.HasPrefix(problem, tc.want[i]) {
					got[i] = tc.want[i]
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccount(t *testing.T) {
	const want = `
finished-task         0.0 s: 200
failed-task           0.0 s: 200
recovering-receiver   0.0 s: 503   10.0 s: 200
broken-receiver       0.0 s: 503   10.0 s: 503   40.0 s: 503   130.0 s: 503   130.0 s: 200
waiting-for-secret    20.0 s: 200
finished-job          0.0 s: 200
11 requests; the API server counted 13 writes of status
`
	if diff := cmp.Diff(want, "\n"+account(expectations, asPromised())); diff != "" {
		t.Error(diff)
	}
}
