// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdmin(t *testing.T) {
	s, c := onLoopback(t, Options{AdminListen: "127.0.0.1:0", Secrets: []string{secret}})
	c.status(t, genuine("/ok", "a", body))
	c.status(t, genuine("/status/500", "b", body))
	c.status(t, message{path: "/ok", id: "a", body: body, secret: "x", signedWith: secret})
	waitFor(t, s, func(n Snapshot) bool { return n.Processed == 1 })

	for path, want := range map[string][]Record{
		"/account":       s.Requests(),
		"/account?id=a":  s.ByID("a"),
		"/account?id=no": nil,
	} {
		got, err := ReadRecords(bytes.NewReader(admin(t, s, http.MethodGet, path, http.StatusOK)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if got := admin(t, s, http.MethodGet, "/ca.pem", http.StatusOK); !bytes.Equal(got, s.CA()) {
		t.Errorf("authority %q", got)
	}
	admin(t, s, http.MethodGet, "/healthz", http.StatusOK)

	var totals Snapshot
	if err := json.Unmarshal(admin(t, s, http.MethodGet, "/snapshot", http.StatusOK), &totals); err != nil {
		t.Fatal(err)
	}
	want := Snapshot{Requests: 3, Accepted: 1, Refused: 2, Deliveries: 2, AcceptedDeliveries: 1, Repeats: 1, Processed: 1}
	if diff := cmp.Diff(want, totals); diff != "" {
		t.Error(diff)
	}
	admin(t, s, http.MethodDelete, "/account", http.StatusNoContent)
	if got := s.Requests(); len(got) != 0 {
		t.Errorf("after DELETE: %v", got)
	}
}

// admin returns the body of an answer whose status is the one wanted.
func admin(t *testing.T, s *Server, method, path string, status int) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.AdminURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != status {
		t.Errorf("%s %s: %d, want %d", method, path, resp.StatusCode, status)
	}
	return got
}

// Senders cannot read the account: the address they reach does not serve it.
func TestAccountIsNotServedToSenders(t *testing.T) {
	s, c := onLoopback(t, Options{})
	if got := s.AdminURL(); got != "" {
		t.Errorf("admin address %q", got)
	}
	resp, err := c.http.Get(c.url + "/account")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestReadRecordsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":      `{"status":200}` + "\n" + `{"sta`,
		"no check":     `{"secret":"guessed"}`,
		"short digest": `{"body_sha256":"00"}`,
		"no digest":    `{"body_sha256":"` + strings.Repeat("x", 64) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ReadRecords(strings.NewReader(text)); err == nil {
				t.Errorf("read as %v", got)
			}
		})
	}
}
