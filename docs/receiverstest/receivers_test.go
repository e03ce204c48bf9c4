// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiverstest

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

func TestReceivers(t *testing.T) {
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			command := p.command(t)
			t.Run("accepts", func(t *testing.T) { p.testAccepts(t, command) })
			t.Run("stores once", func(t *testing.T) { p.testStoresOnce(t, command) })
			t.Run("refuses", func(t *testing.T) { p.testRefuses(t, command) })
			t.Run("limits", func(t *testing.T) { p.testLimits(t, command) })
			t.Run("cannot store", func(t *testing.T) { p.testCannotStore(t, command) })
			t.Run("without a secret", func(t *testing.T) { p.testWithoutSecret(t, command) })
		})
	}
}

// testAccepts has the operator's sender deliver.
func (p program) testAccepts(t *testing.T, command []string) {
	encoded := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567\xff\xfe\xfd"))
	tests := map[string]struct {
		accepted         string
		secret, previous string
		want             sender.Class
	}{
		"plain":                  {secret, secret, "", sender.Delivered},
		"of a file":              {secret + "\n", secret + "\n", "", sender.Delivered},
		"base64":                 {encoded, encoded, "", sender.Delivered},
		"longer than a block":    {strings.Repeat("a b", 50), strings.Repeat("a b", 50), "", sender.Delivered},
		"before a change":        {"new\nold", "old", "", sender.Delivered},
		"while it is changed":    {"old\nnew", "new", "old", sender.Delivered},
		"after a change":         {"new", "new", "old", sender.Delivered},
		"a change missed":        {"old", "new", "old", sender.UnexpectedStatus},
		"another":                {secret, "another", "", sender.UnexpectedStatus},
		"another in base64":      {encoded, "whsec_YW5vdGhlcg==", "", sender.UnexpectedStatus},
		"both, but of no sender": {"one\ntwo", "one\ttwo", "", sender.UnexpectedStatus},
	}
	s := newSender(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, listens := p.start(t, command, tt.accepted)
			if !listens {
				t.Fatal("it does not listen")
			}
			result := s.Send(t.Context(), sender.Request{
				ID: id, URL: r.url, Body: []byte(body), Secret: []byte(tt.secret), Previous: []byte(tt.previous),
			})
			if result.Class != tt.want {
				t.Errorf("%s: %s, want %s", result.Class, result.Message, tt.want)
			}
			if tt.want == sender.Delivered {
				r.expectStored(t, body)
			} else {
				r.expectStored(t)
			}
		})
	}
}

// testStoresOnce delivers again under the same id and, but to the shell, which does not know the task, under another.
func (p program) testStoresOnce(t *testing.T, command []string) {
	r, listens := p.start(t, command, secret)
	if !listens {
		t.Fatal("it does not listen")
	}
	const otherTask, noTask = `{"task_id":"other"}`, `{"status":"failed"}`
	again := id
	if !p.cgi {
		again = "object-2"
	}
	s := newSender(t)
	for _, delivery := range []struct{ id, body string }{
		{id, body}, {id, body}, {again, body}, {"object-3", otherTask}, {"object-4", noTask}, {"object-4", noTask},
	} {
		result := s.Send(t.Context(), sender.Request{
			ID: delivery.id, URL: r.url, Body: []byte(delivery.body), Secret: []byte(secret),
		})
		if result.Class != sender.Delivered {
			t.Errorf("%s: %s", result.Class, result.Message)
		}
	}
	r.expectStored(t, body, otherTask, noTask)
}

func (p program) testRefuses(t *testing.T, command []string) {
	r, listens := p.start(t, command, secret)
	if !listens {
		t.Fatal("it does not listen")
	}
	for name, tt := range forgeries(t) {
		t.Run(name, func(t *testing.T) {
			request := capture(t, sender.Request{ID: id, Body: []byte(body), Secret: []byte(secret)})
			tt.change(&request)
			want := http.StatusUnauthorized
			if tt.accepts {
				want = http.StatusNoContent
			}
			if got := request.send(t, r.url); got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		})
	}
	r.expectStored(t, body)
}

// testLimits sends headers only: the answer must not wait for a body that is too large.
func (p program) testLimits(t *testing.T, command []string) {
	r, listens := p.start(t, command, secret)
	if !listens {
		t.Fatal("it does not listen")
	}
	to, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	for name, length := range map[string]string{"too large": "1048577", "endless": "100000000000000"} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(startTimeout)); err != nil {
				t.Fatal(err)
			}
			head := "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + "\r\n\r\n"
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			if p.cgi { // the web server waits for the body, whatever the program says
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("status %d", response.StatusCode)
			}
		})
	}
}

// testCannotStore has a file where the inbox should be.
func (p program) testCannotStore(t *testing.T, command []string) {
	r, listens := p.start(t, command, secret)
	if !listens {
		t.Fatal("it does not listen")
	}
	if err := os.RemoveAll(r.inbox); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.inbox, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	result := newSender(t).Send(t.Context(), sender.Request{
		ID: id, URL: r.url, Body: []byte(body), Secret: []byte(secret),
	})
	if result.StatusCode != http.StatusServiceUnavailable || result.RetryAfter.Seconds() != 30 {
		t.Errorf("%s: %s, and again after %s", result.Class, result.Message, result.RetryAfter)
	}
}

// testWithoutSecret sends what everyone can sign.
func (p program) testWithoutSecret(t *testing.T, command []string) {
	for name, secrets := range map[string]string{
		"empty": "", "lines": "\n\n", "empty base64": "whsec_", "not base64": "whsec_!!!!", "half base64": "whsec_YWJj!",
	} {
		t.Run(name, func(t *testing.T) {
			r, listens := p.start(t, command, secrets)
			if listens != p.cgi {
				t.Fatalf("it listens: %t", listens)
			}
			if !listens {
				return
			}
			for _, key := range []string{"", secrets} {
				forged := capture(t, sender.Request{ID: id, Body: []byte(body)})
				forged.header.Set("x-webhook-secret", strings.TrimSpace(secrets))
				forged.signed(t, key, time.Now())
				if got := forged.send(t, r.url); got != http.StatusUnauthorized {
					t.Errorf("signed by %q: status %d", key, got)
				}
			}
			r.expectStored(t)
		})
	}
}

// TestShellWithoutOpenSSL has an openssl of which a part fails or says nothing: what is missing twice is not the same.
func TestShellWithoutOpenSSL(t *testing.T) {
	p := programs["shell"]
	command := p.command(t)
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]string{
		"fails":     "*) exit 1",
		"silent":    "*) exit 0",
		"no digest": "*-r*) exit 0",
		"no MAC":    "*-mac*) exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			fake := write(t, "openssl", "#!/bin/sh\ncase \"$*\" in "+broken+" ;; esac\nexec "+openssl+" \"$@\"\n")
			t.Setenv("PATH", filepath.Dir(fake)+":"+os.Getenv("PATH"))
			r, _ := p.start(t, command, secret)
			request := capture(t, sender.Request{ID: id, Body: []byte(body), Secret: []byte(secret)})
			for _, signature := range []string{"v1,AAAA", "v1,", ""} {
				request.header.Set("webhook-signature", signature)
				if got := request.send(t, r.url); got != http.StatusUnauthorized {
					t.Errorf("signature %q: status %d", signature, got)
				}
			}
			r.expectStored(t)
		})
	}
}

// TestShellRefusesPaths signs a webhook-id that is none of the operator's, and would name a file elsewhere.
func TestShellRefusesPaths(t *testing.T) {
	p := programs["shell"]
	r, _ := p.start(t, p.command(t), secret)
	result := newSender(t).Send(t.Context(), sender.Request{
		ID: "../" + id, URL: r.url, Body: []byte(body), Secret: []byte(secret),
	})
	if result.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s: %s", result.Class, result.Message)
	}
	if _, err := os.Stat(filepath.Join(r.inbox, "..", id+".json")); !os.IsNotExist(err) {
		t.Errorf("outside of the inbox: %v", err)
	}
}
