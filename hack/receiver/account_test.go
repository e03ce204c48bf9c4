// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// One request of each kind, and the account of it to the last field.
func TestRecord(t *testing.T) {
	const failed = `{"task_id":"550e8400","status":"failed"}`
	tampered := genuine("/ok", "id-1", failed)
	tampered.signedWith = "another-secret"
	tests := map[string]struct {
		options Options
		message message
		want    Record // without what all have in common
		totals  Snapshot
	}{
		"accepted": {
			message: genuine("/ok", "id-1", body),
			want:    Record{Status: 200, TaskID: "550e8400", Secret: Passed, Signature: Passed},
			totals:  Snapshot{Accepted: 1, AcceptedDeliveries: 1, Processed: 1},
		},
		"refused": {
			message: genuine("/status/503", "id-1", body),
			want:    Record{Status: 503, TaskID: "550e8400", Secret: Passed, Signature: Passed},
			totals:  Snapshot{Refused: 1},
		},
		"slow": {
			message: genuine("/slow/3000", "id-1", body),
			want:    Record{Status: 200, TaskID: "550e8400", Secret: Passed, Signature: Passed, Took: 3 * time.Second},
			totals:  Snapshot{Accepted: 1, AcceptedDeliveries: 1, Processed: 1},
		},
		"hanging": {
			message: genuine("/hang", "id-1", body),
			want:    Record{TaskID: "550e8400", Secret: Passed, Signature: Passed, ClientGone: true, Took: 10 * time.Second},
			totals:  Snapshot{Unanswered: 1},
		},
		"too slow, but worked on": {
			message: genuine("/slow/60000", "id-1", body),
			want:    Record{TaskID: "550e8400", Secret: Passed, Signature: Passed, ClientGone: true, Took: 10 * time.Second},
			totals:  Snapshot{Unanswered: 1, Processed: 1},
		},
		"neither secret nor signature": {
			message: message{path: "/ok", id: "id-1", body: body},
			want:    Record{Status: 401, TaskID: "550e8400", Secret: Missing, Signature: Missing},
			totals:  Snapshot{Refused: 1},
		},
		"wrong secret": {
			message: message{path: "/ok", id: "id-1", body: body, secret: "x", signedWith: secret},
			want:    Record{Status: 401, TaskID: "550e8400", Secret: Wrong, Signature: Passed},
			totals:  Snapshot{Refused: 1},
		},
		"wrong signature": {
			message: tampered,
			want:    Record{Status: 401, TaskID: "550e8400", Secret: Passed, Signature: Wrong},
			totals:  Snapshot{Refused: 1},
		},
		"replayed too late": {
			message: message{path: "/ok", id: "id-1", secret: secret, signedWith: secret, signedAt: epoch.Add(-time.Hour)},
			want:    Record{Status: 401, Secret: Passed, Signature: Stale},
			totals:  Snapshot{Refused: 1},
		},
		"unverified however it behaves": {
			message: message{path: "/hang", id: "id-1"},
			want:    Record{Status: 401, Secret: Missing, Signature: Missing},
			totals:  Snapshot{Refused: 1},
		},
		"signature not checked": {
			options: Options{SkipSignature: true},
			message: message{path: "/ok", id: "id-1", secret: secret},
			want:    Record{Status: 200, Secret: Passed},
			totals:  Snapshot{Accepted: 1, AcceptedDeliveries: 1, Processed: 1},
		},
		"too large": {
			message: message{path: "/ok", id: "id-1", body: strings.Repeat("x", maxBody+1)},
			want:    Record{Status: 413, BodyBytes: maxBody},
			totals:  Snapshot{Refused: 1},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				tc.options.Plain, tc.options.Secrets = true, []string{secret}
				s, c := inMemory(t, tc.options)
				time.Sleep(time.Minute) // virtual: from New to the request
				c.reply(t, tc.message)
				synctest.Wait()

				tc.want.Arrived, tc.want.Elapsed = epoch.Add(time.Minute), time.Minute
				tc.want.Path, tc.want.WebhookID, tc.want.Attempt = tc.message.path, tc.message.id, 1
				if tc.want.BodyBytes == 0 {
					tc.want.BodyBytes = len(tc.message.body)
				}
				tc.want.BodySHA256 = sha256.Sum256([]byte(tc.message.body[:tc.want.BodyBytes]))
				if diff := cmp.Diff([]Record{tc.want}, s.Requests()); diff != "" {
					t.Error(diff)
				}
				tc.totals.Requests, tc.totals.Deliveries = 1, 1
				if diff := cmp.Diff(tc.totals, s.Snapshot()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestNoSecretNothingVerified(t *testing.T) {
	s, c := onLoopback(t, Options{})
	if got := c.status(t, message{path: "/ok", id: "id-1", body: body}); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if r := s.Requests()[0]; r.Secret != NotChecked || r.Signature != NotChecked {
		t.Errorf("checks %v and %v", r.Secret, r.Signature)
	}
}

func TestOnlyPost(t *testing.T) {
	s, c := onLoopback(t, Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+"/ok", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != http.MethodPost {
		t.Errorf("status %d, allowed %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	if got := s.Snapshot(); got.Requests != 1 || got.Refused != 1 {
		t.Errorf("account %+v", got)
	}
}

// A sender that is killed in the middle of its request leaves a record, and of the body what has come.
func TestClientGoneInTheBody(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		conn, err := c.http.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		head := fmt.Sprintf("POST /ok HTTP/1.1\r\nHost: x\r\nwebhook-id: id-1\r\nContent-Length: %d\r\n\r\n", len(body))
		if _, err := io.WriteString(conn, head+body[:10]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.Snapshot(); got.Open != 1 {
			t.Errorf("account %+v", got)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := s.Requests()
		want := Record{
			Arrived: epoch, Path: "/ok", WebhookID: "id-1", Attempt: 1, ClientGone: true,
			BodyBytes: 10, BodySHA256: sha256.Sum256([]byte(body[:10])),
		}
		if diff := cmp.Diff([]Record{want}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Attempts with equal bytes have equal digests, and one different byte shows.
func TestByID(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		other := strings.Replace(body, ",", ", ", 1)
		for _, m := range []message{
			{path: "/status/500", id: "a", body: body},
			{path: "/status/500", id: "b", body: body},
			{path: "/ok", id: "a", body: body},
			{path: "/ok", id: "a", body: other},
		} {
			time.Sleep(time.Second) // virtual
			c.status(t, m)
		}
		got := s.ByID("a")
		record := func(after time.Duration, attempt int, path, body string, status int) Record {
			return Record{
				Arrived: epoch.Add(after), Elapsed: after, Path: path, WebhookID: "a", Attempt: attempt, TaskID: "550e8400",
				BodyBytes: len(body), BodySHA256: sha256.Sum256([]byte(body)), Status: status,
			}
		}
		want := []Record{
			record(1*time.Second, 1, "/status/500", body, 500),
			record(3*time.Second, 2, "/ok", body, 200),
			record(4*time.Second, 3, "/ok", other, 200),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := s.ByID("unknown"); got != nil {
			t.Errorf("records of an unknown id: %v", got)
		}
		if got := s.Snapshot(); got.Deliveries != 2 || got.AcceptedDeliveries != 1 || got.Repeats != 1 {
			t.Errorf("account %+v", got)
		}
	})
}

// Many senders at once over TLS: every request is in the account once, and attempts are numbered without a gap.
func TestAccountIsExact(t *testing.T) {
	const senders, deliveries, attempts = 8, 40, 3
	s, c := onLoopback(t, Options{Secrets: []string{secret}})
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for i := range deliveries {
				id := fmt.Sprintf("%d-%d", sender, i)
				for attempt := range attempts {
					m := genuine("/fail-first/2", id, fmt.Sprintf(`{"task_id":"task-%s"}`, id))
					want := http.StatusServiceUnavailable
					if attempt == attempts-1 {
						want = http.StatusOK
					}
					if got := c.status(t, m); got != want {
						t.Errorf("attempt %d of %s: %d, want %d", attempt+1, id, got, want)
					}
				}
			}
		})
	}
	wg.Wait()
	waitFor(t, s, func(n Snapshot) bool { return n.Processed == senders*deliveries })
	const n = senders * deliveries
	want := Snapshot{
		Requests: n * attempts, Accepted: n, Refused: n * (attempts - 1),
		Deliveries: n, AcceptedDeliveries: n, Processed: n,
	}
	if diff := cmp.Diff(want, s.Snapshot()); diff != "" {
		t.Error(diff)
	}
	all := s.Requests()
	seen := map[string]int{}
	for i, r := range all {
		seen[r.WebhookID]++
		if r.Attempt != seen[r.WebhookID] || r.TaskID != "task-"+r.WebhookID || r.Secret != Passed || r.Signature != Passed {
			t.Errorf("record %d: %+v", i, r)
		}
		if i > 0 && r.Elapsed < all[i-1].Elapsed {
			t.Errorf("record %d is out of order", i)
		}
	}
	if len(seen) != n {
		t.Errorf("%d deliveries in %d records", len(seen), len(all))
	}
}

// A sender that has its answer finds it in the account, without waiting.
func TestAnswerIsRecordedBeforeItIsWritten(t *testing.T) {
	s, c := onLoopback(t, Options{Plain: true})
	for i := range 200 {
		c.status(t, message{path: "/ok", id: "id-1"})
		if got := s.Snapshot(); got.Accepted != i+1 || got.Open != 0 {
			t.Fatalf("after answer %d: %+v", i+1, got)
		}
	}
}

func TestWait(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		woken := make(chan time.Duration, 2)
		for _, n := range []int{1, 2} {
			go func() {
				err := s.Wait(t.Context(), func(got Snapshot) bool { return got.Accepted == n && len(s.Requests()) == n })
				if err != nil {
					t.Error(err)
				}
				woken <- time.Since(epoch)
			}()
		}
		for range 2 {
			c.status(t, message{path: "/slow/5000", id: "id-1"})
		}
		if first, second := <-woken, <-woken; first != 5*time.Second || second != 10*time.Second {
			t.Errorf("woken after %v and %v", first, second)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Wait(ctx, func(got Snapshot) bool { return got.Accepted == 3 })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Accepted:2") {
			t.Errorf("error %v", err)
		}
	})
}

// A request under way at a reset is not in the new account, neither as a record nor in a total.
func TestReset(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		c.status(t, message{path: "/ok", id: "a", body: body})
		answered := make(chan int)
		go func() { answered <- c.status(t, message{path: "/slow/1000", id: "b", body: `{"task_id":"b"}`}) }()
		synctest.Wait()
		s.Reset()
		if got := <-answered; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		synctest.Wait()
		if got := s.Requests(); len(got) != 0 || s.Snapshot() != (Snapshot{}) {
			t.Errorf("after Reset: %v, %+v", got, s.Snapshot())
		}
		c.status(t, message{path: "/ok", id: "a", body: body})
		synctest.Wait()
		want := Snapshot{Requests: 1, Accepted: 1, Deliveries: 1, AcceptedDeliveries: 1, Processed: 1}
		if diff := cmp.Diff(want, s.Snapshot()); diff != "" {
			t.Error(diff)
		}
	})
}
