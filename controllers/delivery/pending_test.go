// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func TestPendingMetrics(t *testing.T) {
	for name, namespaces := range map[string]map[string]cache.Config{
		"all namespaces": nil, "listed namespaces": {"tasks": {}},
	} {
		t.Run(name, func(t *testing.T) { testPendingMetrics(t, namespaces) })
	}
}

func testPendingMetrics(t *testing.T, namespaces map[string]cache.Config) {
	slow := func(n int, w http.ResponseWriter, r *http.Request) {
		if r.Host == "slow.test:8080" {
			time.Sleep(8 * time.Second)
		}
		always(500)(n, w, r)
	}
	inVirtualTime(t, slow, func(s *stack) {
		s.namespaces = namespaces
		s.options.Limits.PerEndpoint = 1
		s.run()
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // creation times have whole seconds
		aged := func(age time.Duration) func(*v1alpha1.WebhookDelivery) {
			return func(d *v1alpha1.WebhookDelivery) { d.CreationTimestamp = metav1.NewTime(time.Now().Add(-age)) }
		}
		to := func(host string) func(*v1alpha1.WebhookDelivery) {
			return func(d *v1alpha1.WebhookDelivery) { d.Spec.URL = "http://" + host + "/" }
		}
		s.create(makeDelivery("waiting").with(aged(0)).obj())
		s.create(makeDelivery("suspended").suspended().with(aged(time.Hour)).obj())
		s.create(makeDelivery("secret-1").with(aged(0)).secret().obj())
		s.create(makeDelivery("secret-2").with(aged(10 * time.Second)).secret().obj())
		s.create(makeDelivery("in-flight").with(aged(0)).with(to("slow.test:8080")).obj())
		time.Sleep(time.Second)
		s.create(makeDelivery("parked-1").with(aged(0)).with(to("slow.test:8080")).obj())
		s.create(makeDelivery("parked-2").with(aged(2 * time.Minute)).with(to("slow.test:8080")).obj())
		s.create(makeDelivery("parked-3").with(aged(time.Minute)).with(to("slow.test:8080")).obj())
		time.Sleep(4 * time.Second)
		want := `
# HELP webhookdelivery_oldest_pending_age_seconds Age of the oldest delivery in that state that has not ended; 0 if there is none.
# TYPE webhookdelivery_oldest_pending_age_seconds gauge
webhookdelivery_oldest_pending_age_seconds{state="due"} 0
webhookdelivery_oldest_pending_age_seconds{state="in_flight"} 5
webhookdelivery_oldest_pending_age_seconds{state="parked"} 124
webhookdelivery_oldest_pending_age_seconds{state="secret"} 15
webhookdelivery_oldest_pending_age_seconds{state="suspended"} 3605
webhookdelivery_oldest_pending_age_seconds{state="waiting"} 5
# HELP webhookdelivery_parked_oldest_seconds How long the delivery that has waited longest for a slot has done so; 0 if there is none.
# TYPE webhookdelivery_parked_oldest_seconds gauge
webhookdelivery_parked_oldest_seconds 4
# HELP webhookdelivery_pending Deliveries that have not ended, by state: due, parked, in_flight, waiting, secret or suspended. Only the leader has any.
# TYPE webhookdelivery_pending gauge
webhookdelivery_pending{state="due"} 0
webhookdelivery_pending{state="in_flight"} 1
webhookdelivery_pending{state="parked"} 3
webhookdelivery_pending{state="secret"} 2
webhookdelivery_pending{state="suspended"} 1
webhookdelivery_pending{state="waiting"} 1
# HELP webhookdelivery_requests_in_flight Requests that have been started and whose outcome is not recorded yet.
# TYPE webhookdelivery_requests_in_flight gauge
webhookdelivery_requests_in_flight 1
# HELP webhookdelivery_unwritten_outcomes Outcomes of attempts that have not been written to the API server yet.
# TYPE webhookdelivery_unwritten_outcomes gauge
webhookdelivery_unwritten_outcomes 0
`
		if err := testutil.CollectAndCompare(pending{s.running.reconciler}, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

// TestOutcomesThatCannotBeWritten are pending as in flight: their request is not made again.
func TestOutcomesThatCannotBeWritten(t *testing.T) {
	inVirtualTime(t, always(200), func(s *stack) {
		var mended atomic.Bool
		s.patch = broken(mended.Load, errAway)
		s.run()
		s.create(makeDelivery("a").obj())
		time.Sleep(time.Minute)
		want := `
# HELP webhookdelivery_unwritten_outcomes Outcomes of attempts that have not been written to the API server yet.
# TYPE webhookdelivery_unwritten_outcomes gauge
webhookdelivery_unwritten_outcomes 1
# HELP webhookdelivery_pending Deliveries that have not ended, by state: due, parked, in_flight, waiting, secret or suspended. Only the leader has any.
# TYPE webhookdelivery_pending gauge
webhookdelivery_pending{state="due"} 0
webhookdelivery_pending{state="in_flight"} 1
webhookdelivery_pending{state="parked"} 0
webhookdelivery_pending{state="secret"} 0
webhookdelivery_pending{state="suspended"} 0
webhookdelivery_pending{state="waiting"} 0
`
		err := testutil.CollectAndCompare(pending{s.running.reconciler}, strings.NewReader(want),
			"webhookdelivery_pending", "webhookdelivery_unwritten_outcomes")
		if err != nil {
			t.Error(err)
		}
		mended.Store(true)
	})
}
