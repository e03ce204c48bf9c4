// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

var (
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "task-1", errors.New("no"))
	errGone      = apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "task-1")
	errTimeout   = apierrors.NewTimeoutError("too slow", 1)
)

// oneTask has a delivery of task-1 with a secret, one of task-2 without, and two whose Secrets have no value.
func oneTask() *apiServer {
	return &apiServer{
		deliveries: []*v1alpha1.WebhookDelivery{
			makeDelivery("d1", "task-1", 0, "s1"),
			makeDelivery("d2", "task-2", 0, ""),
			makeDelivery("private-3", "task-3", 0, "missing"),
			makeDelivery("private-4", "task-4", 0, "empty"),
		},
		secrets: map[string]map[string][]byte{
			"s1":    {"webhook-secret": []byte("right\n"), "old": []byte("previous"), "other": []byte("sibling")},
			"empty": {"webhook-secret": []byte("\n")},
		},
		latency: map[string]time.Duration{
			"list": 7 * time.Millisecond, "delivery": 5 * time.Millisecond, "secret": 11 * time.Millisecond,
			"token": 13 * time.Millisecond, "access": 17 * time.Millisecond},
	}
}

func TestRefusalsAreAllTheSame(t *testing.T) {
	const body = `{"error":"no such task, or not yours to read"}`
	tests := map[string]struct {
		task, namespace string
		credential      func(*http.Request)
		api             func(*apiServer)
		periods         time.Duration // of refusalTime, besides the first
	}{
		"no credential":                {"task-1", "tasks", nil, nil, 0},
		"no credential, no such task":  {"none", "tasks", nil, nil, 0},
		"empty secret":                 {"task-1", "tasks", withSecret(""), nil, 0},
		"wrong secret":                 {"task-1", "tasks", withSecret("wrong"), nil, 0},
		"the secret's beginning":       {"task-1", "tasks", withSecret("righ"), nil, 0},
		"the secret and more":          {"task-1", "tasks", withSecret("rightt"), nil, 0},
		"another key of the Secret":    {"task-1", "tasks", withSecret("sibling"), nil, 0},
		"the secret as a token":        {"task-1", "tasks", withToken("right"), nil, 0},
		"the token as the secret":      {"task-1", "tasks", withSecret(validToken), nil, 0},
		"another namespace":            {"task-1", "others", withSecret("right"), nil, 0},
		"another namespace, token":     {"task-1", "others", withToken(validToken), nil, 0},
		"a task that never was":        {"task-9", "tasks", withSecret("right"), nil, 0},
		"a task that never was, token": {"task-9", "tasks", withToken(validToken), nil, 0},
		"no secret on the delivery":    {"task-2", "tasks", withSecret("right"), nil, 0},
		"the Secret is missing":        {"task-3", "tasks", withSecret("right"), nil, 0},
		"the Secret's value is empty":  {"task-4", "tasks", withSecret("right"), nil, 0},
		"only the newline of an empty": {"task-4", "tasks", withSecret("\n"), nil, 0},
		"an invalid token":             {"task-1", "tasks", withToken("guess"), nil, 0},
		"a token without the right":    {"task-3", "tasks", withToken(validToken), nil, 0},
		"a password":                   {"task-1", "tasks", func(r *http.Request) { r.SetBasicAuth("a", "b") }, nil, 0},
		"the operator may not list":    {"task-1", "tasks", withSecret("right"), fail("list", errForbidden), 0},
		"the operator may not get":     {"task-1", "tasks", withSecret("right"), fail("delivery", errForbidden), 0},
		"the operator may not read it": {"task-1", "tasks", withSecret("right"), fail("secret", errForbidden), 0},
		"deleted in between":           {"task-1", "tasks", withSecret("right"), fail("delivery", errGone), 0},
		"replaced in between": {"task-1", "tasks", withSecret("right"), func(s *apiServer) {
			s.deliveries = append([]*v1alpha1.WebhookDelivery{makeDelivery("d1", "task-7", 0, "s1")}, s.deliveries...)
		}, 0},
		"a slow API server": {"task-1", "tasks", withSecret("wrong"),
			func(s *apiServer) { s.latency["list"] = 240 * time.Millisecond }, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				api := oneTask()
				if tc.api != nil {
					tc.api(api)
				}
				s, log := api.endpoint(nil)
				w, took := do(s, request(tc.task, tc.namespace, tc.credential))
				checkCode(t, w, http.StatusNotFound)
				if diff := cmp.Diff(body, w.Body.String()); diff != "" {
					t.Errorf("body (-want +got):\n%s", diff)
				}
				want := http.Header{
					"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
					"Content-Length": {strconv.Itoa(len(body))},
				}
				if diff := cmp.Diff(want, w.Header()); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				least := (1 + tc.periods) * 250 * time.Millisecond
				if took < least || took >= least+25*time.Millisecond {
					t.Errorf("took %s, want %s to 25 ms more", took, least)
				}
				if text := log.all(); text != "" {
					t.Errorf("logged at the default level: %s", text)
				}
			})
		})
	}
}

func fail(kind string, err error) func(*apiServer) {
	return func(s *apiServer) { s.errors = map[string]error{kind: err} }
}

// TestStrangersCostNoCalls counts what the API server is asked for who shows nothing, or nothing valid.
func TestStrangersCostNoCalls(t *testing.T) {
	for name, tc := range map[string]struct {
		request *http.Request
		calls   map[string]int
	}{
		"no credential": {request("task-1", "tasks", nil), nil},
		"invalid token": {request("task-1", "tasks", withToken("guess")), map[string]int{"token": 1}},
		"unknown task":  {request("task-9", "tasks", withSecret("right")), map[string]int{"list": 1}},
		"the right secret": {request("task-1", "tasks", withSecret("right")),
			map[string]int{"list": 1, "delivery": 1, "secret": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				api := oneTask()
				s, _ := api.endpoint(nil)
				do(s, tc.request)
				if diff := cmp.Diff(tc.calls, api.calls); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	post := func(body string) *http.Request {
		return httptest.NewRequest(http.MethodPost, "/fetch", strings.NewReader(body))
	}
	get := func(query string) *http.Request { return httptest.NewRequest(http.MethodGet, "/fetch?"+query, nil) }
	method := func(m string) *http.Request {
		return httptest.NewRequest(m, "/fetch?task_id=task-1&namespace=tasks", nil)
	}
	for name, tc := range map[string]struct {
		request *http.Request
		code    int
	}{
		"nothing":              {get(""), 400},
		"no namespace":         {get("task_id=task-1"), 400},
		"no task":              {get("namespace=tasks"), 400},
		"empty task":           {get("task_id=&namespace=tasks"), 400},
		"two tasks":            {get("task_id=task-1&task_id=task-2&namespace=tasks"), 400},
		"two namespaces":       {get("task_id=task-1&namespace=others&namespace=tasks"), 400},
		"bad escape":           {get("task_id=%zz&namespace=tasks"), 400},
		"not UTF-8":            {get("task_id=%ff&namespace=tasks"), 400},
		"task too long":        {get("task_id=" + strings.Repeat("x", 254) + "&namespace=tasks"), 400},
		"namespace with slash": {get("task_id=task-1&namespace=tasks%2F..%2Fothers"), 400},
		"namespace a dot":      {get("task_id=task-1&namespace=.."), 400},
		"namespace upper case": {get("task_id=task-1&namespace=Tasks"), 400},
		"POST of nothing":      {post(""), 400},
		"POST of a list":       {post("[]"), 400},
		"POST of two objects":  {post(`{"task_id":"task-1","namespace":"tasks"}{}`), 400},
		"POST of a number":     {post(`{"task_id":1,"namespace":"tasks"}`), 400},
		"POST of a form":       {post(`task_id=task-1&namespace=tasks`), 400},
		"POST of no namespace": {post(`{"task_id":"task-1"}`), 400},
		"POST, empty task":     {post(`{"task_id":"","namespace":"tasks"}`), 400},
		"POST too large":       {post(`{"task_id":"task-1","namespace":"tasks"}` + strings.Repeat(" ", 4096)), 413},
		"HEAD":                 {method(http.MethodHead), 405},
		"PUT":                  {method(http.MethodPut), 405},
		"DELETE":               {method(http.MethodDelete), 405},
		"OPTIONS":              {method(http.MethodOptions), 405},
		"another path":         {httptest.NewRequest(http.MethodGet, "/fetch/?task_id=task-1&namespace=tasks", nil), 404},
	} {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				api := oneTask()
				s, _ := api.endpoint(nil)
				withSecret("right")(tc.request)
				w, took := do(s, tc.request)
				checkCode(t, w, tc.code)
				if took != 0 || api.calls != nil {
					t.Errorf("took %s and the calls %v, want none", took, api.calls)
				}
				if allow := w.Header().Get("Allow"); (tc.code == 405) != (allow == "GET, POST") {
					t.Errorf("Allow: %q", allow)
				}
			})
		})
	}
}

// TestFailures has an API server that does not answer. Who asks is told to come back, after the time of a refusal.
func TestFailures(t *testing.T) {
	const address = "https://api.test/apis?fieldSelector=spec.payload.task_id%3Dtask-1"
	for name, tc := range map[string]struct {
		api     func(*apiServer)
		request *http.Request
		logged  string
		least   time.Duration
	}{
		"list": {fail("list", &url.Error{Op: "Get", URL: address, Err: errors.New("connection refused")}),
			request("task-1", "tasks", withSecret("right")), "connection refused", 250 * time.Millisecond},
		"object": {fail("delivery", errTimeout),
			request("task-1", "tasks", withSecret("right")), "reading a *v1alpha1.WebhookDelivery", 250 * time.Millisecond},
		"Secret": {fail("secret", errTimeout),
			request("task-1", "tasks", withSecret("right")), "reading a *v1.Secret", 250 * time.Millisecond},
		"token review": {fail("token", errTimeout),
			request("task-1", "tasks", withToken(validToken)), "reviewing a token", 250 * time.Millisecond},
		"access review": {fail("access", errTimeout),
			request("task-1", "tasks", withToken(validToken)), "reviewing access", 250 * time.Millisecond},
		"no answer": {func(s *apiServer) { s.latency["list"] = time.Hour },
			request("task-1", "tasks", withSecret("right")), "deadline exceeded", 5250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				api := oneTask()
				tc.api(api)
				s, log := api.endpoint(nil)
				w, took := do(s, tc.request)
				checkCode(t, w, http.StatusServiceUnavailable)
				if got := w.Header().Get("Retry-After"); got != "5" {
					t.Errorf("Retry-After: %q", got)
				}
				if took < tc.least || took >= tc.least+25*time.Millisecond {
					t.Errorf("took %s, want %s to 25 ms more", took, tc.least)
				}
				do(s, tc.request) // logs nothing more: it is too soon
				text := log.all()
				if !strings.Contains(text, tc.logged) || strings.Count(text, "\n") > 0 {
					t.Errorf("want one line with %q, got %s", tc.logged, text)
				}
				for _, private := range []string{"task-1", "right", validToken} {
					if strings.Contains(text, private) {
						t.Errorf("%s is in the log: %s", private, text)
					}
				}
			})
		})
	}
}

// TestGoneClient has a client that does not wait for its answer. Nothing failed, so nothing is logged.
func TestGoneClient(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		api := oneTask()
		s, log := api.endpoint(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, took := do(s, request("task-1", "tasks", withSecret("right")).WithContext(ctx))
		if took != 10*time.Millisecond || log.all() != "" {
			t.Errorf("took %s and logged %q", took, log.all())
		}
	})
}
