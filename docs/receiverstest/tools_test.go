// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiverstest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webhookdelivery/operator/controllers/fetch"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// run returns what a shell program prints. The environment is that of the test and env.
func run(t *testing.T, dir string, env []string, script string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{script}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), t.Output()
	out, err := cmd.Output()
	return string(out), err
}

func TestWork(t *testing.T) {
	need(t, "sh")
	dir, script := t.TempDir(), write(t, "work.sh", snippet(t, "work.sh"))
	files := map[string]string{
		"inbox/a.json": "1", "inbox/b.json": "2", "inbox/new-1": "half",
		// Fails for b the first time.
		"handle": "#!/bin/sh\necho \"$1\" >>log\n[ \"$1\" != inbox/b.json ] || [ -e failed ] || { touch failed; exit 1; }\n",
	}
	if err := os.Mkdir(filepath.Join(dir, "inbox"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := run(t, dir, nil, script); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "inbox/a.json\ninbox/b.json\ninbox/b.json\n"; string(log) != want {
		t.Errorf("handled %q, want %q", log, want)
	}
}

// TestSend tries what the page says about trying, with the reference receiver.
func TestSend(t *testing.T) {
	need(t, "sh", "openssl", "curl")
	r, err := receiver.Start(receiver.Options{Plain: true, Secrets: []string{"my-secret-123"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	script := write(t, "send.sh", snippet(t, "send.sh"))
	for secret, want := range map[string]string{"my-secret-123": "200\n", "another": "401\n"} {
		got, err := run(t, "", []string{"WEBHOOK_SECRET=" + secret}, script, r.URL()+"/webhook")
		if err != nil || got != want {
			t.Errorf("secret %s: %q and error %v, want %q", secret, got, err, want)
		}
	}
}

func TestFetch(t *testing.T) {
	need(t, "sh", "curl")
	const namespace, task = "tasks", "a task & größer"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if r.Method != http.MethodGet || r.URL.Path != fetch.Path || r.Header.Get(fetch.SecretHeader) != secret ||
			query.Get("namespace") != namespace || query.Get("task_id") != task || len(query) != 2 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	env := []string{"FETCH_URL=" + server.URL + fetch.Path, "WEBHOOK_SECRET=" + secret}
	script := write(t, "fetch.sh", snippet(t, "fetch.sh"))
	if got, err := run(t, "", env, script, namespace, task); err != nil || got != body {
		t.Errorf("%q and error %v", got, err)
	}
	if got, err := run(t, "", env, script, namespace, "unknown"); err == nil || strings.Contains(got, "{") {
		t.Errorf("an unknown task: %q and error %v", got, err)
	}
}
