// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
)

// TestHostsThatHangDelayOnlyThemselves has twenty hosts hang that would take all slots of their namespace four times
// over. Until they have timed out once, they are not known for it; then the host that answers has room.
func TestHostsThatHangDelayOnlyThemselves(t *testing.T) {
	const hosts, toEach, healthy = 20, 8, 40
	hangs := func(n int, w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "hangs") {
			<-r.Context().Done()
		}
		always(200)(n, w, r)
	}
	inVirtualTime(t, hangs, func(s *stack) {
		s.options.Limits = lanes.Limits{Total: 80, PerEndpoint: 16, PerNamespace: 40}
		s.run()
		create := func(name, host string) {
			s.create(makeDelivery(name).with(func(d *v1alpha1.WebhookDelivery) { d.Spec.URL = "http://" + host + "/" }).obj())
		}
		for n := range hosts * toEach {
			create(fmt.Sprint("hanging-", n), fmt.Sprintf("hangs-%d.test:8080", n%hosts))
		}
		time.Sleep(time.Second)
		for n := range healthy {
			create(fmt.Sprint("healthy-", n), "answers.test:8080")
		}
		time.Sleep(12 * time.Second)
		for n := range healthy {
			if d := s.get(fmt.Sprint("healthy-", n)); !d.IsDelivered() {
				t.Fatalf("%s is %s 12 s after its creation, a time-out and a little more", d.Name, d.Status.Phase)
			}
		}
	})
}
