// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package receiverstest runs the programs that docs/receivers.md shows.
package receiverstest

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is a code block whose info string names a file after the language.
var named = regexp.MustCompile("(?ms)^```[a-z]+ ([a-z]+\\.[a-z]+)\n(.*?)^```$")

// snippet returns the program of that name as the page shows it.
func snippet(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../receivers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range named.FindAllStringSubmatch(string(page), -1) {
		if match[1] == name {
			return match[2]
		}
	}
	t.Fatalf("the page has no %s", name)
	return ""
}

// write makes an executable file of a program and returns its path.
func write(t *testing.T, name, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test of a language that this machine does not have.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED, there is no %s here", tool) //nolint:forbidigo // languages are optional, and it says so
		}
	}
}

// types matches all that makes receiver.mts TypeScript: imports and uses of types, after a colon or as.
var types = regexp.MustCompile(`(?m)^import type .*\n|` +
	`: (?:IncomingMessage|Promise<\w+>|Buffer|boolean|number|string|void)(?:\[\])?( \{$|[,)]| =)|` +
	` as [A-Z][.\w]*()`)

// withoutTypes makes TypeScript JavaScript, for versions of Node that cannot. It is no more than this program needs; if
// it leaves a type behind, Node does not start it.
func withoutTypes(program string) string { return types.ReplaceAllString(program, "$1$2") }

func TestGoIsFormatted(t *testing.T) {
	program := snippet(t, "receiver.go")
	formatted, err := format.Source([]byte(program))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(formatted)) != strings.TrimSpace(program) {
		t.Error("receiver.go is not as gofmt writes it")
	}
}
