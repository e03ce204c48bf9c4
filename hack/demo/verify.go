// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// expectation is what must become of one of the samples.
type expectation struct {
	name    string
	phase   v1alpha1.Phase
	reason  v1alpha1.Reason // of the condition that is named like the phase
	answers []int           // of the receiver, one for each attempt
	late    bool            // it waits for the late Secret
}

var expectations = []expectation{
	{name: "finished-task", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200}},
	{name: "failed-task", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200}},
	{name: "recovering-receiver", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded,
		answers: []int{503, 200}},
	{name: "broken-receiver", phase: v1alpha1.PhaseUndeliverable, reason: v1alpha1.ReasonRetriesExhausted,
		answers: []int{503, 503, 503, 503}},
	{name: "waiting-for-secret", phase: v1alpha1.PhaseDelivered, reason: v1alpha1.ReasonSucceeded, answers: []int{200},
		late: true},
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
- one write of status for each attempt, and one for the wait for the Secret
- the rights in config/rbac were enough, and no secret is in the operator's log`

// evidence is what can be known from outside the operator once it has stopped.
type evidence struct {
	deliveries             []v1alpha1.WebhookDelivery
	requests               []receiver.Record // in order of arrival
	statusWrites           int               // that the API server has answered
	events                 string            // as kubectl prints them
	log                    string            // of the manager
	secrets                []string          // that must not be in it
	applied, secretApplied time.Time         // when applying the samples, and the late Secret, began
}

// verify returns what is not as it should be, in words.
func verify(want []expectation, e evidence) []string {
	var problems []string
	claimed, attempts, waits := 0, 0, 0
	for _, x := range want {
		attempts += len(x.answers)
		if x.late {
			waits++
		}
		i := slices.IndexFunc(e.deliveries, func(d v1alpha1.WebhookDelivery) bool { return d.Name == x.name })
		if i < 0 {
			problems = append(problems, x.name+": it does not exist")
			continue
		}
		requests := requestsOf(&e.deliveries[i], e.requests)
		for _, problem := range slices.Concat(
			verifyStatus(x, &e.deliveries[i]),
			verifyRequests(x, &e.deliveries[i], requests),
			verifyTimes(x, requests, e),
		) {
			problems = append(problems, x.name+": "+problem)
		}
		claimed += len(requests)
	}
	if n := len(e.requests) - claimed; n != 0 {
		problems = append(problems, fmt.Sprintf("%d requests have a webhook-id that is no delivery's UID", n))
	}
	if e.statusWrites != attempts+waits {
		problems = append(problems, fmt.Sprintf("the API server counted %d writes of status, want %d: one for each of "+
			"%d attempts and one for each of %d waits for a Secret", e.statusWrites, attempts+waits, attempts, waits))
	}
	return slices.Concat(problems, verifyEvents(want, e.events), verifyLog(e))
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
	if !slices.Equal(answers, want.answers) {
		complain("the receiver answered %v, want %v", answers, want.answers)
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
		case i > len(schedule): // verifyRequests complains of the number
		case i > 0:
			last, gap := requests[i-1], schedule[i-1]
			latest := gap + time.Duration(float64(gap)*jitter) + slack
			within(i, r.Elapsed-last.Elapsed-last.Took, gap, latest, fmt.Sprintf("the answer to request %d", i))
		case want.late && e.secretApplied.IsZero():
			problems = append(problems, "a request came without the Secret")
		case want.late:
			within(i, r.Arrived.Sub(e.secretApplied), 0, secretPoll+slack, "the Secret was applied")
		default:
			within(i, r.Arrived.Sub(e.applied), 0, promptly, "the samples were applied")
		}
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
			if i := slices.Index(fields, "webhookdelivery/"+x.name); i > 0 {
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
		for i := range e.deliveries {
			if e.deliveries[i].Name != x.name {
				continue
			}
			for _, r := range requestsOf(&e.deliveries[i], e.requests) {
				fmt.Fprintf(table, "\t%.1f s: %d", r.Arrived.Sub(e.applied).Seconds(), r.Status)
			}
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // to memory
	fmt.Fprintf(&text, "%d requests; the API server counted %d writes of status\n", len(e.requests), e.statusWrites)
	return text.String()
}
