// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

func TestPendingMetrics(t *testing.T) {
	for name, namespaces := range map[string][]string{"all namespaces": nil, "listed namespaces": {"tasks"}} {
		t.Run(name, func(t *testing.T) { testPendingMetrics(t, namespaces) })
	}
}

func testPendingMetrics(t *testing.T, namespaces []string) {
	inVirtualTime(t, always(500), func(s *stack) {
		s.namespaces = namespaces
		s.run()
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // creation times have whole seconds
		old := func(d *v1alpha1.WebhookDelivery) { d.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour)) }
		young := func(d *v1alpha1.WebhookDelivery) { d.CreationTimestamp = metav1.Now() }
		s.create(makeDelivery("a").with(young).obj())
		s.create(makeDelivery("b").suspended().with(old).obj())
		s.create(makeDelivery("c").with(young).secret().obj())
		s.create(makeDelivery("d").with(young).secret().obj())
		time.Sleep(5 * time.Second)
		want := `
# HELP webhookdelivery_oldest_pending_age_seconds Age of the oldest delivery that has not ended, in whatever state; 0 if there is none.
# TYPE webhookdelivery_oldest_pending_age_seconds gauge
webhookdelivery_oldest_pending_age_seconds 3605
# HELP webhookdelivery_pending Deliveries that have not ended, by state: due, waiting, secret or suspended. Only the leader has any.
# TYPE webhookdelivery_pending gauge
webhookdelivery_pending{state="due"} 0
webhookdelivery_pending{state="secret"} 2
webhookdelivery_pending{state="suspended"} 1
webhookdelivery_pending{state="waiting"} 1
# HELP webhookdelivery_requests_in_flight Requests that have been started and whose outcome is not recorded yet.
# TYPE webhookdelivery_requests_in_flight gauge
webhookdelivery_requests_in_flight 0
`
		err := testutil.CollectAndCompare(pending{s.running.reconciler}, strings.NewReader(want),
			"webhookdelivery_pending", "webhookdelivery_oldest_pending_age_seconds", "webhookdelivery_requests_in_flight")
		if err != nil {
			t.Error(err)
		}
	})
}
