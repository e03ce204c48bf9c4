// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestParseBehaviour(t *testing.T) {
	tests := map[string]struct {
		want    Behaviour
		unknown bool
		refused bool
	}{
		"/ok":                     {},
		"/ok/customer-7":          {},
		"/hang":                   {want: Behaviour{Hang: true}},
		"/redirect":               {want: Behaviour{Redirect: true}},
		"/fail-first/3":           {want: Behaviour{FailFirst: 3}},
		"/status/404":             {want: Behaviour{Status: 404}},
		"/slow/250":               {want: Behaviour{Delay: 250 * time.Millisecond}},
		"/slow/250/customer-7":    {want: Behaviour{Delay: 250 * time.Millisecond}},
		"/retry-after/60":         {want: Behaviour{RetryAfter: "60"}},
		"/retry-after/0":          {want: Behaviour{RetryAfter: "0"}},
		"/retry-after/soon":       {want: Behaviour{RetryAfter: "soon"}},
		"/fail-first/1/hang/name": {want: Behaviour{FailFirst: 1, Hang: true}},
		"/fail-first/2/status/429/retry-after/7": {
			want: Behaviour{FailFirst: 2, Status: 429, RetryAfter: "7"},
		},
		"":                 {unknown: true},
		"/":                {unknown: true},
		"/webhook":         {unknown: true},
		"/customer-7/hang": {unknown: true},
		"/status":          {refused: true},
		"/status/teapot":   {refused: true},
		"/status/199":      {refused: true},
		"/status/600":      {refused: true},
		"/fail-first/0":    {refused: true},
		"/slow/-1":         {refused: true},
		"/slow/600001":     {refused: true},
		"/retry-after":     {refused: true},
		"/ok/status/x":     {refused: true},
	}
	for path, tc := range tests {
		t.Run(path, func(t *testing.T) {
			got, ok, err := ParseBehaviour(path)
			if ok == tc.unknown || (err != nil) != tc.refused {
				t.Errorf("ok %v, error %v", ok, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// reply is what the sender of an attempt sees.
type reply struct {
	Status     int // 0 if there was none within 10 s
	After      time.Duration
	RetryAfter string
	Location   string
}

func TestBehaviours(t *testing.T) {
	const s = time.Second
	ok := reply{Status: 200}
	tests := map[string]struct {
		path      string
		otherwise Behaviour
		want      []reply // to the attempts of one delivery
	}{
		"ok":              {path: "/ok", want: []reply{ok, ok}},
		"nothing named":   {path: "/webhook", want: []reply{ok}},
		"fail first":      {path: "/fail-first/2", want: []reply{{Status: 503}, {Status: 503}, ok, ok}},
		"fail first with": {path: "/fail-first/1/status/410", want: []reply{{Status: 410}, ok}},
		"status":          {path: "/status/404", want: []reply{{Status: 404}, {Status: 404}}},
		"no content":      {path: "/status/204", want: []reply{{Status: 204}}},
		"slow":            {path: "/slow/9999", want: []reply{{Status: 200, After: 9999 * time.Millisecond}}},
		"too slow":        {path: "/slow/10001", want: []reply{{After: 10 * s}}},
		"slow failure":    {path: "/slow/2000/status/500", want: []reply{{Status: 500, After: 2 * s}}},
		"slow ever after": {
			path: "/fail-first/1/slow/2000", want: []reply{{Status: 503, After: 2 * s}, {Status: 200, After: 2 * s}},
		},
		"hang":          {path: "/hang", want: []reply{{After: 10 * s}, {After: 10 * s}}},
		"hang first":    {path: "/fail-first/1/hang", want: []reply{{After: 10 * s}, ok}},
		"redirect":      {path: "/redirect", want: []reply{{Status: 307, Location: "/ok/redirected"}}},
		"redirect with": {path: "/redirect/status/301", want: []reply{{Status: 301, Location: "/ok/redirected"}}},
		"retry after":   {path: "/retry-after/60", want: []reply{{Status: 503, RetryAfter: "60"}}},
		"retry after once": {
			path: "/fail-first/1/status/429/retry-after/5", want: []reply{{Status: 429, RetryAfter: "5"}, ok},
		},
		"not a status":        {path: "/status/abc", want: []reply{{Status: 404}}},
		"flag fail first":     {otherwise: Behaviour{FailFirst: 1}, path: "/webhook", want: []reply{{Status: 503}, ok}},
		"flag status":         {otherwise: Behaviour{Status: 500}, path: "/webhook", want: []reply{{Status: 500}}},
		"flag hang":           {otherwise: Behaviour{Hang: true}, path: "/webhook", want: []reply{{After: 10 * s}}},
		"flag delay":          {otherwise: Behaviour{Delay: s}, path: "/", want: []reply{{Status: 200, After: s}}},
		"path wins over flag": {otherwise: Behaviour{Status: 500}, path: "/ok", want: []reply{ok}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				_, c := inMemory(t, Options{Plain: true, Otherwise: tc.otherwise})
				var got []reply
				for range tc.want {
					got = append(got, c.reply(t, genuine(tc.path, "id-1", body)))
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// reply posts the message with the time limit of the product.
func (c client) reply(t testing.TB, m message) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	resp, err := c.post(ctx, t, m)
	if errors.Is(err, context.DeadlineExceeded) {
		return reply{After: time.Since(start)}
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply{
		Status: resp.StatusCode, After: time.Since(start),
		RetryAfter: resp.Header.Get("Retry-After"), Location: resp.Header.Get("Location"),
	}
}

// Deliveries that share a path fail independently of one another.
func TestFailFirstCountsPerDelivery(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		_, c := inMemory(t, Options{Plain: true})
		var got []int
		for _, id := range []string{"a", "b", "a", "b", "c", "a"} {
			got = append(got, c.status(t, message{path: "/fail-first/1", id: id}))
		}
		want := []int{503, 503, 200, 200, 503, 200}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"informational status": {Otherwise: Behaviour{Status: http.StatusContinue}},
		"no such status":       {Otherwise: Behaviour{Status: 600}},
		"negative failures":    {Otherwise: Behaviour{FailFirst: -1}},
		"negative delay":       {Otherwise: Behaviour{Delay: -1}},
		"empty secret":         {Secrets: []string{""}},
		"broken fetch URL":     {FetchURL: "https://%"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := New(o); err == nil {
				closeAtEnd(t, s)
				t.Error("accepted")
			}
		})
	}
}
