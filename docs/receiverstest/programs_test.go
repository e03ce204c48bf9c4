// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiverstest

import (
	"bufio"
	"context"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout is how long a program may take to listen, on a machine that is busy.
const startTimeout = time.Minute

// program is one of the receivers.
type program struct {
	// command returns what to run.
	command func(t *testing.T) []string
	// cgi: a web server runs it, for each request.
	cgi bool
}

var programs = map[string]program{
	"Go":         {command: goCommand},
	"Python":     {command: pythonCommand},
	"TypeScript": {command: typeScriptCommand},
	"shell":      {command: shellCommand, cgi: true},
}

func goCommand(t *testing.T) []string {
	need(t, "go")
	source := write(t, "receiver.go", snippet(t, "receiver.go"))
	binary := filepath.Join(t.TempDir(), "receiver")
	// Here, where go.mod says which version of the library it gets.
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return []string{binary}
}

func pythonCommand(t *testing.T) []string {
	need(t, "python3")
	return []string{"python3", write(t, "receiver.py", snippet(t, "receiver.py"))}
}

// typeScriptCommand leaves the types to Node if it knows what they are.
func typeScriptCommand(t *testing.T) []string {
	need(t, "node")
	name, source := "receiver.mts", snippet(t, "receiver.mts")
	knows, err := exec.CommandContext(t.Context(), "node", "-p", "Boolean(process.features.typescript)").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(knows)) != "true" {
		name, source = "receiver.mjs", withoutTypes(source)
	}
	return []string{"node", write(t, name, source)}
}

func shellCommand(t *testing.T) []string {
	need(t, "sh", "openssl")
	return []string{write(t, "receiver.cgi", snippet(t, "receiver.cgi"))}
}

// running is a receiver that listens.
type running struct {
	url, inbox string
}

// start runs a receiver that accepts the secrets, one on each line, until the test ends. It returns false if the
// program ends instead of listening.
func (p program) start(t *testing.T, command []string, secrets string) (running, bool) {
	t.Helper()
	r := running{inbox: filepath.Join(t.TempDir(), "inbox")}
	env := []string{"WEBHOOK_SECRET=" + secrets, "INBOX=" + r.inbox, "PORT=0"}
	if p.cgi {
		server := httptest.NewServer(&cgi.Handler{Path: command[0], Env: env, Stderr: t.Output()})
		t.Cleanup(server.Close)
		r.url = server.URL + "/webhook"
		return r, true
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), t.Output()
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait() // it was killed, or says by its silence what was wrong
	})
	t.Cleanup(stop)
	late := time.AfterFunc(startTimeout, cancel)
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if !late.Stop() {
		t.Fatal("it does not listen")
	}
	url, listens := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	r.url = url
	if !listens {
		stop()
		if code := cmd.ProcessState.ExitCode(); code < 1 {
			t.Errorf("it ended without saying that it failed, with exit code %d", code)
		}
	}
	return r, listens
}

// stored returns the content of the files in the inbox, by name.
func (r running) stored(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(r.inbox)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(r.inbox, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content[file.Name()] = string(raw)
	}
	return content
}

func (r running) expectStored(t *testing.T, want ...string) {
	t.Helper()
	content := r.stored(t)
	for name, body := range content {
		if !strings.HasSuffix(name, ".json") {
			t.Errorf("a file is left over: %s", name)
		}
		found := false
		for _, w := range want {
			found = found || body == w
		}
		if !found {
			t.Errorf("%s has %q", name, body)
		}
	}
	if len(content) != len(want) {
		t.Errorf("%d files, want %d", len(content), len(want))
	}
}
