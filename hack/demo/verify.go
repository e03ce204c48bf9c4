// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/jobs"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// expectation is what must become of one of the samples.
type expectation struct {
	name    string
	phase   v1alpha1.Phase
	reason  v1alpha1.Reason // of the condition that is named like the phase
	answers []int           // of the receiver, one for each attempt
	late    bool            // it waits for the late Secret
	job     bool            // it is made of the Job of that name
	again   int             // the answer to the only attempt after it was labelled to be delivered again; 0 if it is not
}

var expectations = []expectation{
	{name: "finished-task", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200}},
	{name: "failed-task", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200}},
	{name: "recovering-receiver", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded,
		answers: []int{503, 200}},
	{name: "broken-receiver", phase: v1alpha1.PhaseUndeliverable, reason: v1alpha1.ReasonRetriesExhausted,
		answers: []int{503, 503, 503, 503}, again: 200},
	{name: "waiting-for-secret", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200},
		late: true},
	{name: finishedJob, phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200}, job: true},
}

// in returns the delivery that is expected, if it is among them.
func (x expectation) in(deliveries []v1alpha1.WebhookDelivery) *v1alpha1.WebhookDelivery {
	for i := range deliveries {
		if d := &deliveries[i]; d.Name == x.name || x.job && d.Labels[jobs.LabelJobName] == x.name {
			return d
		}
	}
	return nil
}

// all are the answers of both rounds.
func (x expectation) all() []int {
	if x.again == 0 {
		return x.answers
	}
	return append(slices.Clone(x.answers), x.again)
}

// The published promise: the waits from the end of a failed attempt to the next one, and how much longer they may be.
var schedule = []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second}

const (
	jitter = 0.10
	slack  = 2 * time.Second
	// promptly is how soon the first attempt is made after kubectl began to apply the object.
	promptly = 10 * time.Second
	// secretPoll is the longest time between two looks for a missing Secret.
	secretPoll = 30 * time.Second
)

// checked is what verify has checked when it finds nothing.
const checked = `- every delivery ended as it should; every attempt in a status was one request
- every wait was the schedule's: never shorter, at most 10 % and 2 s longer
- every request had the right secret, signature and webhook-id, and as its body
  exactly the payload
- nothing was sent before the late Secret was there
- the Job's end made one delivery, with its UID as task_id
- /fetch gave the receiver, for its secret alone, exactly the payload that it had missed
- the redelivery was one request more, with the same webhook-id
- one write of status for each attempt, one for the wait for the Secret, and one for
  the request to deliver again
- the rights in config/rbac were enough, and no secret is in the operator's log`

// evidence is what can be known from outside the operator once it has stopped.
type evidence struct {
	firstRound, deliveries []v1alpha1.WebhookDelivery // before anything was delivered again, and in the end
	requests               []receiver.Record          // in order of arrival
	statusWrites           int                        // that the API server has answered
	notified               string                     // what the Job says is its delivery
	fetched, refused       fetched                    // what /fetch answered to the right and to a wrong secret
	events                 string                     // as kubectl prints them
	log                    string                     // of the manager
	secrets                []string                   // that must not be in it

	// When applying the samples began, ending the Job, applying the late Secret, and labelling what was missed.
	applied, jobEnded, secretApplied, labelled time.Time
}

// verify returns what is not as it should be, in words.
func verify(want []expectation, e evidence) []string {
	var problems []string
	claimed, attempts, waits, again := 0, 0, 0, 0
	for _, x := range want {
		attempts += len(x.all())
		if x.late {
			waits++
		}
		if x.again != 0 {
			again++
		}
		d := x.in(e.deliveries)
		if d == nil {
			problems = append(problems, x.name+": it does not exist")
			continue
		}
		requests := requestsOf(d, e.requests)
		for _, problem := range slices.Concat(
			verifyRounds(x, d, e),
			verifyRequests(x, d, requests),
			verifyTimes(x, requests, e),
		) {
			problems = append(problems, x.name+": "+problem)
		}
		claimed += len(requests)
	}
	if n := len(e.requests) - claimed; n != 0 {
		problems = append(problems, fmt.Sprintf("%d requests have a webhook-id that is no delivery's UID", n))
	}
	if e.statusWrites != attempts+waits+again {
		problems = append(problems, fmt.Sprintf("the API server counted %d writes of status, want %d: one for each of "+
			"%d attempts, %d waits for a Secret and %d requests to deliver again", e.statusWrites, attempts+waits+again,
			attempts, waits, again))
	}
	return slices.Concat(problems, verifyFetch(e), verifyEvents(want, e.events), verifyLog(e))
}

func requestsOf(d *v1alpha1.WebhookDelivery, all []receiver.Record) []receiver.Record {
	var own []receiver.Record
	for _, r := range all {
		if r.WebhookID == string(d.UID) {
			own = append(own, r)
		}
	}
	return own
}

// verifyRounds looks at the status of d in the end, and of what was delivered again also before that.
func verifyRounds(want expectation, d *v1alpha1.WebhookDelivery, e evidence) []string {
	var problems []string
	if want.job && (e.notified != d.Name || !strings.HasSuffix(d.Name, d.Spec.Payload.TaskID)) {
		problems = append(problems, fmt.Sprintf("the Job is annotated with %q and task_id is %q, want the delivery's name "+
			"%q and the UID in it", e.notified, d.Spec.Payload.TaskID, d.Name))
	}
	if want.again == 0 {
		return append(problems, verifyStatus(want, d)...)
	}
	if first := want.in(e.firstRound); first != nil {
		problems = append(problems, verifyStatus(want, first)...)
	} else {
		problems = append(problems, "it was not given up in time")
	}
	if d.Status.Redeliveries != 1 || d.Status.RedeliverAccepted || len(d.Labels) > 0 {
		problems = append(problems, fmt.Sprintf("redeliveries is %d, redeliverAccepted %t and the labels %v, want one "+
			"redelivery that is over", d.Status.Redeliveries, d.Status.RedeliverAccepted, d.Labels))
	}
	return append(problems, verifyStatus(expectation{
		phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{want.again},
	}, d)...)
}

func verifyStatus(want expectation, d *v1alpha1.WebhookDelivery) []string {
	var problems []string
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if d.Status.Phase != want.phase {
		complain("phase is %s, want %s", d.Status.Phase, want.phase)
	}
	condition := meta.FindStatusCondition(d.Status.Conditions, string(want.phase))
	if condition == nil || condition.Status != "True" || condition.Reason != string(want.reason) {
		complain("condition %s is %+v, want it True with reason %s", want.phase, condition, want.reason)
	}
	if d.Status.CompletionTime == nil || d.Status.NextAttemptTime != nil {
		complain("completionTime is %v and nextAttemptTime %v, want only the first", d.Status.CompletionTime,
			d.Status.NextAttemptTime)
	}
	var codes []int
	for i, a := range d.Status.Attempts {
		codes = append(codes, int(a.StatusCode))
		if int(a.Number) != i+1 {
			complain("attempt %d has number %d", i+1, a.Number)
		}
	}
	if !slices.Equal(codes, want.answers) {
		complain("status has attempts with codes %v, want %v", codes, want.answers)
	}
	return problems
}

func verifyRequests(want expectation, d *v1alpha1.WebhookDelivery, requests []receiver.Record) []string {
	var problems []string
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var answers []int
	payload := receiver.Digest(sha256.Sum256(d.Spec.Payload.Raw))
	for i, r := range requests {
		answers = append(answers, r.Status)
		if r.Secret != receiver.Passed || r.Signature != receiver.Passed {
			complain("request %d: secret %s, signature %s", i+1, r.Secret, r.Signature)
		}
		if r.BodySHA256 != payload {
			complain("request %d: the body (%d bytes) is not the payload (%d bytes)", i+1, r.BodyBytes,
				len(d.Spec.Payload.Raw))
		}
	}
	if !slices.Equal(answers, want.all()) {
		complain("the receiver answered %v, want %v", answers, want.all())
	}
	return problems
}

// verifyTimes compares when the requests arrived with when they were due.
func verifyTimes(want expectation, requests []receiver.Record, e evidence) []string {
	var problems []string
	within := func(i int, took, low, high time.Duration, since string) {
		if took < low || took > high {
			problems = append(problems, fmt.Sprintf("request %d came %.3f s after %s, want %.3f to %.3f s",
				i+1, took.Seconds(), since, low.Seconds(), high.Seconds()))
		}
	}
	for i, r := range requests {
		switch {
		case i > len(schedule) && i == len(want.answers) && want.again != 0:
			within(i, r.Arrived.Sub(e.labelled), 0, promptly, "it was labelled")
		case i > len(schedule): // verifyRequests complains of the number
		case i > 0:
			last, gap := requests[i-1], schedule[i-1]
			latest := gap + time.Duration(float64(gap)*jitter) + slack
			within(i, r.Elapsed-last.Elapsed-last.Took, gap, latest, fmt.Sprintf("the answer to request %d", i))
		case want.late && e.secretApplied.IsZero():
			problems = append(problems, "a request came without the Secret")
		case want.late:
			within(i, r.Arrived.Sub(e.secretApplied), 0, secretPoll+slack, "the Secret was applied")
		case want.job:
			within(i, r.Arrived.Sub(e.jobEnded), 0, promptly, "the Job was ended")
		default:
			within(i, r.Arrived.Sub(e.applied), 0, promptly, "the samples were applied")
		}
	}
	return problems
}

// verifyFetch wants the payload that was missed for the right secret, and nothing for another.
func verifyFetch(e evidence) []string {
	d := expectation{name: missed}.in(e.firstRound)
	if d == nil {
		return nil // that is told already
	}
	var problems []string
	if f := e.fetched; f.code != http.StatusOK || f.phase != string(d.Status.Phase) ||
		!bytes.Equal(f.body, d.Spec.Payload.Raw) {
		problems = append(problems, fmt.Sprintf("/fetch answered %d, phase %s and %d bytes, want 200, %s and the payload "+
			"(%d bytes)", f.code, f.phase, len(f.body), d.Status.Phase, len(d.Spec.Payload.Raw)))
	}
	if e.refused.code != http.StatusNotFound || bytes.Contains(e.refused.body, d.Spec.Payload.Raw) {
		problems = append(problems, fmt.Sprintf("/fetch answered %d to a wrong secret, want 404", e.refused.code))
	}
	return problems
}

// verifyEvents wants one event for each delivery that was given up, and none for the others.
func verifyEvents(want []expectation, events string) []string {
	var problems []string
	for _, x := range want {
		var reasons []string
		for line := range strings.Lines(events) {
			fields := strings.Fields(line) // …, reason, object, message
			i := slices.IndexFunc(fields, func(s string) bool {
				return s == "webhookdelivery/"+x.name || x.job && strings.HasPrefix(s, "webhookdelivery/"+x.name+"-")
			})
			if i > 0 {
				reasons = append(reasons, fields[i-1])
			}
		}
		var wanted []string
		if x.phase == v1alpha1.PhaseUndeliverable {
			wanted = []string{string(x.reason)}
		}
		if !slices.Equal(reasons, wanted) {
			problems = append(problems, fmt.Sprintf("%s: its events have the reasons %v, want %v", x.name, reasons, wanted))
		}
	}
	return problems
}

func verifyLog(e evidence) []string {
	var problems []string
	for _, secret := range e.secrets {
		if strings.Contains(e.log, secret) {
			problems = append(problems, "the manager's log has a secret in it")
		}
	}
	for line := range strings.Lines(e.log) {
		if strings.Contains(line, "forbidden") {
			problems = append(problems, "config/rbac lacks something: "+strings.TrimSpace(line))
		}
	}
	return problems
}

// account tells what the receiver saw of each delivery: when the requests came, and what it answered.
func account(want []expectation, e evidence) string {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, x := range want {
		fmt.Fprint(table, x.name)
		if d := x.in(e.deliveries); d != nil {
			for _, r := range requestsOf(d, e.requests) {
				fmt.Fprintf(table, "\t%.1f s: %d", r.Arrived.Sub(e.applied).Seconds(), r.Status)
			}
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // to memory
	fmt.Fprintf(&text, "%d requests; the API server counted %d writes of status\n", len(e.requests), e.statusWrites)
	return text.String()
}
