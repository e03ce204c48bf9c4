// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package commandstest runs the commands that README and docs show and has the API server judge their manifests.
//
// What happens to a fenced block follows from the word after its fence:
//
//	sh, console       run, block after block of a page. Of console, the lines that begin with "$ " are run, one by one,
//	                  and what follows one is what it must print: white space, ages, times and UIDs may differ, and a
//	                  line "..." stands for any lines.
//	yaml              applied with a strict server-side dry run, if it holds whole objects, or else only parsed
//	any, and a name   a file that the later commands of the page find, or that docs/receiverstest runs
//	text, http, …     left alone
//
// On the line before a block, a comment "<!-- not run: the reason -->" leaves the block alone, and a comment
// "<!-- run first: commands -->" brings about what the block shows. Everything else fails.
package commandstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/webhookdelivery/operator/hack/operator"
)

// block is a fenced block of a page.
type block struct {
	line   int // of its first fence, counted from 1
	lang   string
	name   string // of the file that it is; mostly empty
	reason string // why it is left alone; mostly empty
	first  string // commands to run before it; mostly empty
	text   string
}

// inert are the languages of which nothing can be run.
var inert = []string{"http", "json", "mermaid", "promql", "text"} // hack/monitoring parses promql

var (
	fence = regexp.MustCompile("^( *)```+ *([^` ]*) *([^` ]*) *$")
	mark  = regexp.MustCompile(`^ *<!-- *(not run|run first): *(.*?) *-->$`)
)

// parse returns the blocks of a page. It is an error if a block has no verdict.
func parse(page string) ([]block, error) {
	var blocks []block
	var errs []error
	var open *block
	var indent string
	var marked block // what marks say of the block that comes
	for i, line := range strings.Split(page, "\n") {
		match := fence.FindStringSubmatch(line)
		switch {
		case open != nil && match != nil && match[2] == "":
			errs = append(errs, open.check())
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case match != nil:
			open = &block{line: i + 1, lang: match[2], name: match[3], reason: marked.reason, first: marked.first}
			indent, marked = match[1], block{}
		case mark.MatchString(line):
			says := mark.FindStringSubmatch(line)
			if marked.line = i + 1; says[2] == "" {
				errs = append(errs, fmt.Errorf("line %d: say why it is not run, or what to run", i+1))
			}
			if says[1] == "not run" {
				marked.reason = says[2]
			} else {
				marked.first = says[2]
			}
		case marked.line > 0:
			errs = append(errs, fmt.Errorf("line %d: no block follows the mark", marked.line))
			marked = block{}
		}
	}
	if open != nil || marked.line > 0 {
		errs = append(errs, errors.New("the page ends in a block, or after a mark"))
	}
	return blocks, errors.Join(errs...)
}

// check returns an error if b has no verdict.
func (b block) check() error {
	switch {
	case b.reason != "", b.isFile(), b.isRun(), b.lang == "yaml", slices.Contains(inert, b.lang):
		return nil
	case b.lang == "":
		return fmt.Errorf("line %d: name the block's language: sh and console are run, yaml is applied, text is left alone",
			b.line)
	}
	return fmt.Errorf("line %d: a block of %s needs a file's name after it, or a mark that says why it is not run",
		b.line, b.lang)
}

func (b block) isFile() bool { return b.name != "" && b.reason == "" }

func (b block) isRun() bool {
	return (b.lang == "sh" || b.lang == "console") && b.name == "" && b.reason == ""
}

// pages returns README.md and what is below docs, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	read := func(path string) {
		raw, err := os.ReadFile(filepath.Join(operator.Root(), path))
		if err != nil {
			t.Fatal(err)
		}
		found[path] = string(raw)
	}
	read("README.md")
	read("CONTRIBUTING.md")
	err := fs.WalkDir(os.DirFS(operator.Root()), "docs", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestVerdicts needs no control plane, so that a block without a verdict is told of at once.
func TestVerdicts(t *testing.T) {
	for path, page := range pages(t) {
		t.Run(path, func(t *testing.T) {
			blocks, err := parse(page)
			if err != nil {
				t.Error(err)
			}
			for i, b := range blocks {
				if b.isFile() && !isUsed(t, b.name, blocks[i+1:]) {
					t.Errorf("line %d: neither a later command nor docs/receiverstest uses %s", b.line, b.name)
				}
			}
		})
	}
}

// isUsed reports whether a file is named by a block that is run, or by the tests of programs.
func isUsed(t *testing.T, name string, later []block) bool {
	t.Helper()
	if slices.ContainsFunc(later, func(b block) bool { return b.isRun() && strings.Contains(b.text, name) }) {
		return true
	}
	tests, err := filepath.Glob("../receiverstest/*_test.go")
	if err != nil || len(tests) == 0 {
		t.Fatalf("%d files of docs/receiverstest: %v", len(tests), err)
	}
	return slices.ContainsFunc(tests, func(path string) bool {
		raw, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(raw), `snippet(t, "`+name+`")`)
	})
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		page string
		want []block
		err  string
	}{
		"commands":       {"a\n```sh\nb\n\nc\n```\n", []block{{line: 2, lang: "sh", text: "b\n\nc\n"}}, ""},
		"in a list":      {"* a\n\n  ```sh\n  b\n    c\n  ```\n", []block{{line: 3, lang: "sh", text: "b\n  c\n"}}, ""},
		"file":           {"```yaml a.yaml\nb\n```\n", []block{{line: 1, lang: "yaml", name: "a.yaml", text: "b\n"}}, ""},
		"left alone":     {"<!-- not run: no node -->\n```sh\nb\n```\n", []block{{line: 2, lang: "sh", reason: "no node", text: "b\n"}}, ""},
		"prepared":       {"<!-- run first: a -->\n```sh\nb\n```\n", []block{{line: 2, lang: "sh", first: "a", text: "b\n"}}, ""},
		"only the next":  {"<!-- not run: x -->\n```sh\n```\n```sh\n```\n", []block{{line: 2, lang: "sh", reason: "x"}, {line: 4, lang: "sh"}}, ""},
		"nothing to run": {"```text\n$ a\n```\n", []block{{line: 1, lang: "text", text: "$ a\n"}}, ""},
		"no reason":      {"<!-- not run: -->\n```sh\n```\n", nil, "line 1: say why"},
		"no block":       {"<!-- not run: x -->\n\n```sh\n```\n", nil, "line 1: no block follows"},
		"mark at end":    {"<!-- not run: x -->", nil, "the page ends"},
		"no language":    {"```\na\n```\n", nil, "line 1: name the block's language"},
		"other language": {"\n```bash\na\n```\n", nil, "line 2: a block of bash needs"},
		"not closed":     {"```sh\na\n", nil, "the page ends"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parse(tc.page)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%+v and error %v, want %+v", got, err, tc.want)
			}
		})
	}
}
