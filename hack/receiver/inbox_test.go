// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestDuplicatesAreWorkedOnOnce(t *testing.T) {
	const noID, otherBody = `{"status":"finished"}`, `{"task_id":"550e8400","status":"again"}`
	tests := map[string]struct {
		messages []message
		worked   []string // the payloads
	}{
		"the same attempt twice":    {[]message{genuine("", "a", body), genuine("", "a", body)}, []string{body}},
		"two deliveries of a task":  {[]message{genuine("", "a", body), genuine("", "b", otherBody)}, []string{body}},
		"no task_id, one delivery":  {[]message{genuine("", "a", noID), genuine("", "a", noID)}, []string{noID}},
		"no task_id, two of them":   {[]message{genuine("", "a", noID), genuine("", "b", noID)}, []string{noID, noID}},
		"not even JSON":             {[]message{genuine("", "a", "{"), genuine("", "a", "{")}, []string{"{"}},
		"task_id that is no string": {[]message{genuine("", "a", `{"task_id":5}`)}, []string{`{"task_id":5}`}},
		"replayed as it was": {
			[]message{genuine("", "a", body), genuine("", "a", body), genuine("", "a", body)}, []string{body},
		},
		"refused, then accepted": {
			[]message{genuine("/fail-first/1", "a", body), genuine("/fail-first/1", "a", body)}, []string{body},
		},
		"forged": {[]message{{id: "a", body: body, secret: "x", signedWith: "x"}}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				var worked []string
				s, c := inMemory(t, Options{
					Plain: true, Secrets: []string{secret},
					Work: func(task Task) { worked = append(worked, string(task.Payload)) },
				})
				for _, m := range tc.messages {
					c.status(t, m)
				}
				synctest.Wait()
				if diff := cmp.Diff(tc.worked, worked); diff != "" {
					t.Error(diff)
				}
				got := s.Snapshot()
				if got.Processed != len(tc.worked) || got.DuplicateTasks != got.Accepted-len(tc.worked) {
					t.Errorf("account %+v", got)
				}
			})
		})
	}
}

// Without either key, nothing can be told from anything.
func TestWithoutKeyNothingIsADuplicate(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		for range 2 {
			c.status(t, message{path: "/ok"})
		}
		synctest.Wait()
		if got := s.Snapshot(); got.Processed != 2 || got.DuplicateTasks != 0 {
			t.Errorf("account %+v", got)
		}
	})
}

// The answer does not wait for the work, and Close does.
func TestAnswersAtOnceAndWorksLater(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		const tasks = 20
		var worked, want []time.Duration
		s, c := inMemory(t, Options{Plain: true, Work: func(Task) {
			time.Sleep(time.Minute) // virtual
			worked = append(worked, time.Since(epoch))
		}})
		for i := range tasks {
			c.status(t, message{path: "/ok", id: fmt.Sprint(i)})
			want = append(want, time.Duration(i+1)*time.Minute)
		}
		if got := time.Since(epoch); got != 0 {
			t.Errorf("the answers took %v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, worked); diff != "" {
			t.Error(diff)
		}
	})
}

// A queue that is full says so instead of forgetting, and what it refused can come again.
func TestFullQueue(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s, c := inMemory(t, Options{Plain: true, QueueSize: 1, Work: func(Task) { <-release }})
		send := func(id string) reply {
			got := c.reply(t, message{path: "/ok", id: id})
			synctest.Wait() // until the worker has taken what it can
			return got
		}
		busy := reply{Status: http.StatusServiceUnavailable, RetryAfter: "1"}
		want := []reply{{Status: 200}, {Status: 200}, busy, busy}
		if diff := cmp.Diff(want, []reply{send("a"), send("b"), send("c"), send("c")}); diff != "" {
			t.Error(diff)
		}
		close(release)
		synctest.Wait()
		if got := send("c"); got.Status != http.StatusOK {
			t.Errorf("third attempt: %+v", got)
		}
		if got := s.Snapshot(); got.Accepted != 3 || got.Refused != 2 || got.Processed != 3 {
			t.Errorf("account %+v", got)
		}
	})
}
