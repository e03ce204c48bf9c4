// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func netipPort(i int) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 1).String()
}

func TestAnswer(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		api := oneTask()
		s, _ := api.endpoint(nil)
		want := http.Header{
			"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
			"Content-Length": {"32"}, "Webhook-Id": {"uid-d1"}, "Webhook-Delivery-Name": {"d1"},
			"Webhook-Delivery-Phase": {"Undeliverable"}, "Webhook-Delivery-Attempts": {"4"},
			"Webhook-Delivery-Completed": {"2026-01-02T03:04:05Z"},
		}
		post := httptest.NewRequest(http.MethodPost, "/fetch", strings.NewReader(`{"task_id":"task-1","namespace":"tasks"}`))
		withSecret("right")(post)
		for _, r := range []*http.Request{
			request("task-1", "tasks", withSecret("right")), request("task-1", "tasks", withToken(validToken)), post,
		} {
			w, _ := do(s, r)
			checkCode(t, w, http.StatusOK)
			if diff := cmp.Diff(want, w.Header()); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(`{"from":"d1","task_id":"task-1"}`, w.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		}
		api.deliveries[0].Status = v1alpha1.WebhookDeliveryStatus{Phase: v1alpha1.PhasePending}
		w, _ := do(s, request("task-1", "tasks", withSecret("right")))
		delete(want, "Webhook-Delivery-Completed")
		want["Webhook-Delivery-Phase"], want["Webhook-Delivery-Attempts"] = []string{"Pending"}, []string{"0"}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("headers of an unfinished delivery (-want +got):\n%s", diff)
		}
	})
}

func TestNewestReadable(t *testing.T) {
	secrets := map[string]map[string][]byte{
		"s1": {"webhook-secret": []byte("one")}, "s2": {"webhook-secret": []byte("two")},
	}
	many := func(n int, secret string) (all []*v1alpha1.WebhookDelivery) {
		for i := range n {
			all = append(all, makeDelivery(fmt.Sprintf("private-%03d", i), "task", i, secret))
		}
		return all
	}
	with := func(all []*v1alpha1.WebhookDelivery, more ...*v1alpha1.WebhookDelivery) []*v1alpha1.WebhookDelivery {
		return append(all, more...)
	}
	tests := map[string]struct {
		deliveries []*v1alpha1.WebhookDelivery
		credential func(*http.Request)
		want       string // a name; "" is not found
	}{
		"the newest": {with(nil, makeDelivery("a", "task", 2, "s1"), makeDelivery("b", "task", 1, "s1")),
			withSecret("one"), "a"},
		"in one second, the last by name": {with(nil, makeDelivery("a", "task", 1, "s1"),
			makeDelivery("c", "task", 1, "s1"), makeDelivery("b", "task", 1, "s1")), withSecret("one"), "c"},
		"the newest with that secret": {with(nil, makeDelivery("a", "task", 1, "s1"), makeDelivery("b", "task", 2, "s2"),
			makeDelivery("c", "task", 3, "")), withSecret("one"), "a"},
		"the newest that the token may get": {with(nil, makeDelivery("a", "task", 1, ""),
			makeDelivery("private-b", "task", 2, "")), withToken(validToken), "a"},
		"either credential": {with(nil, makeDelivery("a", "task", 1, ""), makeDelivery("private-b", "task", 2, "s1")),
			func(r *http.Request) { withToken(validToken)(r); withSecret("one")(r) }, "private-b"},
		"the secret is wrong, the token is not": {with(nil, makeDelivery("a", "task", 1, "s1")),
			func(r *http.Request) { withToken(validToken)(r); withSecret("two")(r) }, "a"},
		"the newest of several pages": {many(55, "s1"), withSecret("one"), "private-054"},
		"20 are tried": {with(many(19, "s2"), makeDelivery("z", "task", -1, "s1")),
			withSecret("one"), "z"},
		"not more": {with(many(20, "s2"), makeDelivery("z", "task", -1, "s1")),
			withSecret("one"), ""},
		"the newest of the first 100": {many(150, "s1"), withSecret("one"), "private-099"},
		"another task's are not looked at": {with(many(30, "s2"), makeDelivery("z", "other", 50, "s1")),
			withSecret("one"), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				api := &apiServer{deliveries: tc.deliveries, secrets: secrets}
				s, _ := api.endpoint(nil)
				w, _ := do(s, request("task", "tasks", tc.credential))
				if got := w.Header().Get(NameHeader); got != tc.want || (tc.want == "") != (w.Code == 404) {
					t.Errorf("got %q with status %d, want %q", got, w.Code, tc.want)
				}
				if tc.want == "" && api.calls["secret"] > 1 {
					t.Errorf("one Secret was read %d times", api.calls["secret"])
				}
			})
		})
	}
}

func TestMatches(t *testing.T) {
	for name, tc := range map[string]struct {
		value, given string
		want         bool
	}{
		"equal":                    {"secret", "secret", true},
		"newline at the end":       {"secret\n", "secret", true},
		"CR LF at the end":         {"secret\r\n", "secret", true},
		"two newlines at the end":  {"secret\n\n", "secret", false},
		"lone CR at the end":       {"secret\r", "secret", false},
		"newline at the beginning": {"\nsecret", "secret", false},
		"spaces around":            {" secret ", "secret", false},
		"spaces inside":            {"my secret", "my secret", true},
		"not ASCII":                {"géheim", "géheim", true},
		"another case":             {"Secret", "secret", false},
		"prefix":                   {"secret", "secre", false},
		"longer":                   {"secret", "secrets", false},
		"both empty":               {"", "", false},
		"empty but for a newline":  {"\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(tc.given, []byte(tc.value)); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
