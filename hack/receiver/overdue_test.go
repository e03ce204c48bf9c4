// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

func TestSuspectsAMiss(t *testing.T) {
	const wait = 4 * time.Minute
	tests := map[string]struct {
		options Options
		do      func(t *testing.T, s *Server, c client)
		want    []string // what it would fetch
	}{
		"never accepted": {
			do: func(t *testing.T, _ *Server, c client) {
				for range 4 {
					c.status(t, genuine("/status/503", "a", body))
				}
			},
			want: []string{"GET /fetch?task_id=550e8400"},
		},
		"accepted at last": {
			do: func(t *testing.T, _ *Server, c client) {
				c.status(t, genuine("/fail-first/1", "a", body))
				time.Sleep(wait - 1) // virtual
				c.status(t, genuine("/fail-first/1", "a", body))
			},
		},
		"accepted too late": {
			do: func(t *testing.T, _ *Server, c client) {
				c.status(t, genuine("/fail-first/1", "a", body))
				time.Sleep(wait + 1) // virtual
				c.status(t, genuine("/fail-first/1", "a", body))
			},
			want: []string{"GET /fetch?task_id=550e8400"},
		},
		"refused after it was accepted": {
			do: func(t *testing.T, _ *Server, c client) {
				c.status(t, genuine("/ok", "a", body))
				c.status(t, genuine("/status/503", "a", body))
			},
		},
		"expected and never sent": {
			do:   func(_ *testing.T, s *Server, _ client) { s.Expect("a/b&c", time.Minute) },
			want: []string{"GET /fetch?task_id=a%2Fb%26c"},
		},
		"expected and sent": {
			do: func(t *testing.T, s *Server, c client) {
				s.Expect("550e8400", time.Minute)
				c.status(t, genuine("/ok", "a", body))
			},
		},
		"other place to fetch from": {
			options: Options{FetchURL: "https://tasks.test/fetch?namespace=tasks"},
			do:      func(_ *testing.T, s *Server, _ client) { s.Expect("a", time.Minute) },
			want:    []string{"GET https://tasks.test/fetch?namespace=tasks&task_id=a"},
		},
		"reset": {do: func(_ *testing.T, s *Server, _ client) { s.Expect("a", time.Minute); s.Reset() }},
		// Nobody but the sender may make the receiver fetch.
		"forged": {
			do: func(t *testing.T, _ *Server, c client) {
				c.status(t, message{path: "/status/503", id: "a", body: body})
			},
		},
		"without an id": {
			do: func(t *testing.T, _ *Server, c client) { c.status(t, genuine("/status/503", "a", "{}")) },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tc.options.Plain, tc.options.Secrets, tc.options.SuspectAfter = true, []string{secret}, wait
				tc.options.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				s, c := inMemory(t, tc.options)
				tc.do(t, s, c)
				time.Sleep(time.Hour) // virtual
				synctest.Wait()
				if diff := cmp.Diff(tc.want, wouldFetch(log.String())); diff != "" {
					t.Error(diff)
				}
				if got := s.Snapshot().Suspected; got != len(tc.want) {
					t.Errorf("suspected %d times", got)
				}
			})
		})
	}
}

// wouldFetch returns the requests named in the log.
func wouldFetch(log string) (requests []string) {
	for line := range strings.Lines(log) {
		if _, request, ok := strings.Cut(strings.TrimSpace(line), `would_fetch="`); ok {
			requests = append(requests, strings.TrimSuffix(request, `"`))
		}
	}
	return requests
}

// By default a receiver suspects nothing on its own, and after Close nothing at all.
func TestSuspectsNothing(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		c.status(t, message{path: "/status/503", id: "a", body: body})
		s.Expect("other", time.Minute)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s.Expect("another", time.Minute)
		time.Sleep(time.Hour) // virtual
		if got := s.Snapshot().Suspected; got != 0 {
			t.Errorf("suspected %d times", got)
		}
	})
}

// The time counts from when a task was first expected.
func TestExpectedTwice(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		suspected := make(chan time.Duration, 10)
		o := newOverdue(func(string) { suspected <- time.Since(epoch) })
		for range 3 {
			o.expect("a", 4*time.Minute)
			time.Sleep(3 * time.Minute) // virtual
		}
		time.Sleep(time.Hour) // virtual
		if first, second := <-suspected, <-suspected; first != 4*time.Minute || second != 10*time.Minute {
			t.Errorf("suspected after %v and %v", first, second)
		}
		if got := len(suspected); got != 0 {
			t.Errorf("suspected %d times more", got)
		}
	})
}
