// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// lister answers lists with what it says of a namespace at a time.
type lister struct {
	client.Reader
	says func(namespace string) error
}

func (l lister) List(_ context.Context, _ client.ObjectList, opts ...client.ListOption) error {
	options := &client.ListOptions{}
	options.ApplyOptions(opts)
	return l.says(options.Namespace)
}

func TestRights(t *testing.T) {
	forbidden := apierrors.NewForbidden(deliveries, "", errors.New("no binding"))
	type span struct{ from, to time.Duration } // in which namespace b is forbidden
	tests := map[string]struct {
		without []string
		refused []span
		away    span
		ends    time.Duration // 0: never
		wanted  time.Duration // until when outcomes wait for the right
	}{
		"nothing changes":                {},
		"one was left out, and stays so": {without: []string{"b"}, refused: []span{{0, time.Hour}}},
		"deleted before the takeover":    {refused: []span{{0, time.Hour}}, ends: 5 * time.Second},
		"deleted later":                  {refused: []span{{30 * time.Second, time.Hour}}, ends: 65 * time.Second},
		"set up after it was left out":   {without: []string{"b"}, refused: []span{{0, 10 * time.Minute}}, ends: 605 * time.Second},
		"deleted later, and outcomes wait for the right": {refused: []span{{30 * time.Second, time.Hour}},
			wanted: 2 * time.Minute, ends: 125 * time.Second},
		"the right is back while outcomes wait for it": {refused: []span{{30 * time.Second, 90 * time.Second}}, wanted: 2 * time.Minute},
		"refused for a moment, twice":                  {refused: []span{{0, time.Second}, {65 * time.Second, 66 * time.Second}}},
		"the API server away":                          {away: span{0, 30 * time.Minute}},
		"the API server away as a change begins": {refused: []span{{0, time.Hour}}, away: span{time.Second, 3 * time.Minute},
			ends: 185 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				start := time.Now()
				within := func(s span) bool { return time.Since(start) >= s.from && time.Since(start) < s.to }
				r := NewRights(lister{says: func(namespace string) error {
					if within(tc.away) {
						return errAway
					}
					for _, s := range tc.refused {
						if namespace == "b" && within(s) {
							return forbidden
						}
					}
					return nil
				}}, []string{"a", "b"}, tc.without)
				r.wanted = func() bool { return time.Since(start) < tc.wanted }
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
				defer cancel()
				err := r.Start(ctx)
				took := time.Since(start)
				if (err != nil) != (tc.ends > 0) || (tc.ends > 0 && took.Truncate(time.Second) != tc.ends) {
					t.Errorf("ended after %v with %v, want after %v", took, err, tc.ends)
				}
			})
		})
	}
}

// TestOneNamespaceWithoutRights has deliveries in two namespaces, in one of which the operator may not write status: it
// stops sending there, and goes on in the other.
func TestOneNamespaceWithoutRights(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.options.MaxUnwritten = 10
		s.forbids = func(namespace string) bool { return namespace == "tasks" && s.elapsed() < 10*time.Minute }
		s.run()
		for i := range 50 {
			s.create(makeDelivery(fmt.Sprint("tasks-", i)).obj())
			time.Sleep(time.Second)
		}
		for i := range 20 {
			s.create(makeDelivery(fmt.Sprint("other-", i)).with(func(d *v1alpha1.WebhookDelivery) { d.Namespace = "other" }).obj())
		}
		time.Sleep(time.Minute)
		sent := map[string]int{}
		for _, p := range s.seen() {
			sent[strings.Split(p.id, "-")[1]]++
		}
		if sent["tasks"] > 2 || sent["other"] != 20 {
			t.Errorf("requests while the rights are missing in one namespace: %v", sent)
		}
		time.Sleep(20 * time.Minute)
		if posts, _ := s.counts(); posts != 70 {
			t.Errorf("%d requests in the end, want 70", posts)
		}
	})
}

// TestShutdownDoesNotWaitForRights ends the operator while an outcome waits that it may not write.
func TestShutdownDoesNotWaitForRights(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		s.forbids = func(namespace string) bool { return namespace == "tasks" }
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Second)
		began := time.Now()
		s.stop()
		if took := time.Since(began); took > rightsConfirmation+time.Second || s.lost != 1 {
			t.Errorf("the shutdown took %s and left %d outcomes, want a moment and 1", took, s.lost)
		}
	})
}

// TestNamespaceDeletedInMidFlight loses the rights, and the object, before the answer comes.
func TestNamespaceDeletedInMidFlight(t *testing.T) {
	inVirtualTime(t, slowly(2*time.Second, 200), func(s *stack) {
		s.forbids = func(string) bool { return s.elapsed() >= time.Second }
		s.run()
		s.create(makeDelivery("a").obj())
		s.wait(time.Second)
		s.delete("a")
		time.Sleep(time.Hour)
		if left, posts := s.running.reconciler.ledger.size(), len(s.seen()); left != 0 || posts != 1 {
			t.Errorf("%d entries in the ledger and %d requests, want none and 1", left, posts)
		}
	})
}
