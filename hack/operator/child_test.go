// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
)

func TestProcess(t *testing.T) {
	tests := map[string]struct {
		script string
		died   string // what the callback is told; empty if the process ends only when it is asked to
		stop   string // what stop complains of
	}{
		"ends when asked":    {script: `trap "exit 0" TERM; echo ready; while :; do sleep 0.01; done`},
		"ends badly":         {script: `trap "exit 3" TERM; echo ready; while :; do sleep 0.01; done`, stop: "exit status 3"},
		"ends by itself":     {script: `echo ready; exit 4`, died: "/bin/sh ended by itself: exit status 4"},
		"succeeds by itself": {script: `echo ready`, died: "/bin/sh ended by itself: exit status 0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			died := make(chan error, 1)
			p, err := StartChild(log, func(err error) { died <- err }, "/bin/sh", "-c", tc.script)
			if err != nil {
				t.Fatal(err)
			}
			if tc.died != "" {
				if err := <-died; !strings.HasPrefix(err.Error(), tc.died) {
					t.Errorf("died: %v, want %s", err, tc.died)
				}
			} else {
				waitForText(t, log)
			}
			err = p.Stop()
			if (err == nil) != (tc.stop == "") || (err != nil && !strings.Contains(err.Error(), tc.stop)) {
				t.Errorf("stop: %v, want %q", err, tc.stop)
			}
			select {
			case err := <-died:
				t.Errorf("a process that was stopped was said to have died: %v", err)
			default:
			}
			if err := p.Stop(); err != nil {
				t.Errorf("stopped again: %v", err)
			}
		})
	}
}

// waitForText returns when the file has some: the script has set its trap by then.
func waitForText(t *testing.T, path string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 10*time.Second, true,
		func(context.Context) (bool, error) {
			text, err := os.ReadFile(path)
			return len(text) > 0, err
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := Tail(path, 2); got != "" {
		t.Errorf("of no file: %q", got)
	}
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\n\nThe end of "+path+":\ntwo\nthree", Tail(path, 2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("\n\nThe end of "+path+":\none\ntwo\nthree", Tail(path, 9)); diff != "" {
		t.Error(diff)
	}
}
