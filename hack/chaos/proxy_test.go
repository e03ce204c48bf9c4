// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// TestDelay reads more than any buffer holds: a delayed watch is late, and not slow.
func TestDelay(t *testing.T) {
	const lag, events = 15 * time.Second, 100
	event := bytes.Repeat([]byte("x"), 100<<10)
	virtualtime.Test(t, func(t *testing.T) {
		var by atomic.Int64
		by.Store(int64(lag))
		in, out := io.Pipe()
		body := delay(t.Context(), in, &by)
		began := time.Now()
		go func() {
			for range events {
				_, _ = out.Write(event)
				time.Sleep(time.Second)
			}
			_ = out.Close()
		}()
		got := make([]byte, len(event))
		for i := range events {
			if _, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, event) {
				t.Fatalf("event %d: %v", i, err)
			}
			if at, want := time.Since(began), time.Duration(i)*time.Second+lag; at != want {
				t.Errorf("event %d came after %s, want %s", i, at, want)
			}
		}
		if _, err := body.Read(got); !errors.Is(err, io.EOF) {
			t.Errorf("in the end: %v", err)
		}
	})
}

func TestDelayEndsWithItsContext(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var by atomic.Int64
		by.Store(int64(time.Hour))
		ctx, cut := context.WithCancel(t.Context())
		body := delay(ctx, io.NopCloser(strings.NewReader("x")), &by)
		time.AfterFunc(time.Second, cut)
		if _, err := body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("read %v from a watch that was cut", err)
		}
	})
}

// startTestProxy returns the address of a proxy before handler.
func startTestProxy(t *testing.T, handler http.HandlerFunc) (*proxy, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	p, err := startProxy(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return p, "http://" + p.listener.Addr().String()
}

func TestCutWatches(t *testing.T) {
	p, address := startTestProxy(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "event")
		w.(http.Flusher).Flush() //nolint:forcetypeassert // the server's own
		<-r.Context().Done()
	})
	resp := get(t, address+"/x?watch=true")
	if _, err := io.ReadFull(resp.Body, make([]byte, len("event"))); err != nil {
		t.Fatal(err)
	}
	p.cutWatches()
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a watch that was cut ended well, with %q", rest)
	}
}

func TestFailWrites(t *testing.T) {
	var reached atomic.Int32
	p, address := startTestProxy(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	const n = 300
	send := func(method, path string) (answers map[int]int) {
		answers = map[int]int{}
		for range n {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			req, err := http.NewRequestWithContext(ctx, method, address+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				answers[0]++
			} else {
				answers[resp.StatusCode]++
				_ = resp.Body.Close()
			}
			cancel()
		}
		return answers
	}
	if got := send(http.MethodPatch, "/a/status"); got[http.StatusOK] != n {
		t.Errorf("without faults: %v", got)
	}
	p.failWrites(true)
	if got := send(http.MethodPatch, "/a"); got[http.StatusOK] != n {
		t.Errorf("what is no status write: %v", got)
	}
	reached.Store(0)
	got := send(http.MethodPatch, "/a/status")
	for _, code := range []int{0, 200, 409, 429, 500, 503} {
		if got[code] == 0 {
			t.Errorf("no status write was answered %d: %v", code, got)
		}
	}
	if lost := int(reached.Load()) - got[http.StatusOK]; lost <= 0 || lost > got[0] {
		t.Errorf("%d writes went through without an answer, and %d had none", lost, got[0])
	}
}

func TestFaultFor(t *testing.T) {
	got := map[int]int{}
	for n := range 1000 {
		got[faultFor(n)]++
	}
	for fault, want := range map[int]int{none: 670, noAnswer: 5, answerLost: 65, 409: 65, 429: 65, 500: 65, 503: 65} {
		if got[fault] != want {
			t.Errorf("fault %d: %d of a thousand, want %d", fault, got[fault], want)
		}
	}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}
