// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// Close gives slow requests their answer and cuts hanging ones, whose clients have not gone.
func TestClose(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		slow, hanging := make(chan int, 1), make(chan bool, 1)
		go func() { slow <- c.status(t, message{path: "/slow/3000", id: "slow"}) }()
		go func() {
			_, err := c.post(t.Context(), t, message{path: "/hang", id: "hang"})
			hanging <- err == nil
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := time.Since(epoch); got != 3*time.Second {
			t.Errorf("Close took %v", got)
		}
		if got := <-slow; got != http.StatusOK {
			t.Errorf("slow request: %d", got)
		}
		if <-hanging {
			t.Error("hanging request: answered")
		}
		if got := s.ByID("hang")[0]; got.Open || got.ClientGone || got.Status != 0 {
			t.Errorf("hanging request: %+v", got)
		}
		if resp, err := c.post(t.Context(), t, message{path: "/ok"}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: response %v, error %v", resp, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// Close waits for no more than its limit.
func TestCloseIsBounded(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		cut := make(chan error, 1)
		go func() {
			_, err := c.post(t.Context(), t, message{path: "/slow/600000"})
			cut <- err
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := time.Since(epoch); got != closeTimeout {
			t.Errorf("Close took %v", got)
		}
		if err := <-cut; err == nil {
			t.Error("the request was answered")
		}
	})
}

// A connection that was opened and never used does not hold Close up.
func TestCloseWithUnusedConnection(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, c := inMemory(t, Options{Plain: true})
		conn, err := c.http.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := time.Since(epoch); got >= time.Second {
			t.Errorf("Close took %v", got)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestConnectionsAreReused(t *testing.T) {
	_, c := onLoopback(t, Options{})
	var reused []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = append(reused, info.Reused) },
	})
	for _, path := range []string{"/ok", "/status/500", "/status/204", "/redirect", "/status/404"} {
		if _, err := c.post(ctx, t, message{path: path, body: body}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]bool{false, true, true, true, true}, reused); diff != "" {
		t.Error(diff)
	}
}

// The receiver is a handler that needs no server of its own.
func TestHandler(t *testing.T) {
	s, err := New(Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/status/418", strings.NewReader(body)))
	if w.Code != http.StatusTeapot || s.Snapshot().Refused != 1 {
		t.Errorf("status %d, account %+v", w.Code, s.Snapshot())
	}
}

func TestStartOnATakenAddress(t *testing.T) {
	s, _ := onLoopback(t, Options{Plain: true})
	taken := s.listener.Addr().String()
	for name, o := range map[string]Options{
		"listen": {Plain: true, Listen: taken},
		"admin":  {Plain: true, AdminListen: taken},
	} {
		t.Run(name, func(t *testing.T) {
			if second, err := Start(o); err == nil {
				closeAtEnd(t, second)
				t.Error("started")
			}
		})
	}
}

// flusher is a writer that sends its answer by a function.
type flusher struct {
	*httptest.ResponseRecorder
	flush func() error
}

func (f flusher) FlushError() error { return f.flush() }

func TestAnswerThatCouldNotBeWritten(t *testing.T) {
	s, err := New(Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ok", strings.NewReader(body))
	s.ServeHTTP(flusher{httptest.NewRecorder(), func() error { return net.ErrClosed }}, r)
	if got := s.Requests()[0]; got.Status != http.StatusOK || !got.ClientGone {
		t.Errorf("record %+v", got)
	}
}

// Who waits for an answer hears of it even if its client is slow to read it.
func TestWaitDoesNotDependOnTheClient(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, err := New(Options{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, s)
		heard := make(chan struct{})
		go func() {
			waitFor(t, s, func(n Snapshot) bool { return n.Refused == 1 })
			close(heard)
		}()
		synctest.Wait()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/slow/1000/status/500", strings.NewReader(body))
		s.ServeHTTP(flusher{httptest.NewRecorder(), func() error { <-heard; return nil }}, r)
	})
}

// Neither secrets nor signatures are in the log or in an error, whatever is wrong with them.
func TestLogKeepsSecrets(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		const guessed, broken = "guessed-secret", "whsec_%broken-secret"
		var log bytes.Buffer
		s, c := inMemory(t, Options{
			Plain: true, Secrets: []string{secret},
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		c.status(t, genuine("/ok", "a", body))
		c.status(t, genuine("/status/abc", "a", body))
		c.status(t, message{path: "/ok", id: "a", body: body, secret: guessed, signedWith: guessed})
		signature := genuine("", "a", body).header(t).Get("webhook-signature")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "status=401") {
			t.Errorf("log without the request: %s", &log)
		}
		_, err := New(Options{Secrets: []string{broken}})
		if err == nil {
			t.Fatal("broken secret accepted")
		}
		for _, confidential := range []string{secret, guessed, "broken-secret", strings.TrimPrefix(signature, "v1,")} {
			if strings.Contains(log.String()+err.Error(), confidential) {
				t.Errorf("%q is in the log or the error:\n%s%v", confidential, &log, err)
			}
		}
	})
}
