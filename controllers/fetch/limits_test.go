// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func from(r *http.Request, remote string) *http.Request {
	r.RemoteAddr = remote
	return r
}

func TestRateLimit(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, _ := oneTask().endpoint(func(o *Options) { o.RequestsPerSecond = 0.5 })
		ask := func(remote string) *httptest.ResponseRecorder {
			w, _ := do(s, from(httptest.NewRequest(http.MethodGet, "/other", nil), remote)) // takes no time
			return w
		}
		checkCode(t, ask("192.0.2.1:1000"), 404)
		w := ask("192.0.2.1:2000") // another connection of the same client
		checkCode(t, w, http.StatusTooManyRequests)
		if got := w.Header().Get("Retry-After"); got != "2" {
			t.Errorf("Retry-After: %q", got)
		}
		checkCode(t, ask("[::ffff:192.0.2.1]:1000"), 429) // the same address on an IPv6 socket
		checkCode(t, ask("192.0.2.2:1000"), 404)
		checkCode(t, ask("[2001:db8:1:2::1]:1000"), 404)
		checkCode(t, ask("[2001:db8:1:2:ffff::]:1000"), 429) // the same network
		checkCode(t, ask("[2001:db8:1:3::1]:1000"), 404)
		time.Sleep(2*time.Second - time.Nanosecond)
		checkCode(t, ask("192.0.2.1:1000"), 429)
		time.Sleep(time.Nanosecond)
		checkCode(t, ask("192.0.2.1:1000"), 404)
		checkCode(t, ask("192.0.2.1:1000"), 429)
	})
}

func TestRateLimitRemembersManyClients(t *testing.T) {
	c := newClients(1)
	for range 2 {
		for i := range 2 * maxClients {
			c.bucket(clientOf(netipPort(i)))
		}
	}
	if n := len(c.buckets.Keys()); n > maxClients {
		t.Errorf("%d clients are remembered, want at most %d", n, maxClients)
	}
}

func TestInFlightLimit(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		api := oneTask()
		api.block = make(chan struct{})
		s, _ := api.endpoint(func(o *Options) { o.MaxInFlight = 2 })
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				w, _ := do(s, request("task-9", "tasks", withSecret("right")))
				if w.Code != http.StatusNotFound {
					t.Errorf("status %d", w.Code)
				}
			})
		}
		synctest.Wait()
		w, took := do(s, request("task-1", "tasks", withSecret("right")))
		checkCode(t, w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") != "1" || took != 0 {
			t.Errorf("Retry-After: %q after %s", w.Header().Get("Retry-After"), took)
		}
		w, _ = do(s, request("task-1", "tasks", nil)) // asks nobody, so it takes no slot
		checkCode(t, w, http.StatusNotFound)
		close(api.block)
		time.Sleep(10 * time.Millisecond) // both have their answer now, but have not given it
		w, took = do(s, request("task-1", "tasks", withSecret("right")))
		checkCode(t, w, http.StatusOK)
		if took > 100*time.Millisecond {
			t.Errorf("waited %s behind refusals", took)
		}
		group.Wait()
	})
}

func TestAnswersAreCounted(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, _ := oneTask().endpoint(nil)
		for code, r := range map[string]*http.Request{
			"200": request("task-1", "tasks", withSecret("right")),
			"404": request("task-1", "tasks", nil),
			"400": request("", "tasks", nil),
		} {
			before := counted(t, code)
			do(s, r)
			if got := counted(t, code) - before; got != 1 {
				t.Errorf("code %s was counted %v times", code, got)
			}
		}
	})
}

// counted is what the manager's metrics say of the answers with code.
func counted(t *testing.T, code string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "webhookdelivery_fetch_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if label := metric.GetLabel()[0]; label.GetName() == "code" && label.GetValue() == code {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}
