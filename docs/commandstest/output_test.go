// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package commandstest

import (
	"regexp"
	"strings"
	"testing"
)

// command is one of a console block, and what it prints.
type command struct{ text, output string }

// commands returns those of a console block. A line that ends in a backslash goes on in the next.
func commands(text string) []command {
	var found []command
	goesOn := false
	for line := range strings.Lines(text) {
		prompt, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case goesOn:
			found[len(found)-1].text += line
		case isCommand:
			found = append(found, command{text: prompt})
		case len(found) > 0:
			found[len(found)-1].output += line
		}
		goesOn = (goesOn || isCommand) && strings.HasSuffix(line, "\\\n")
	}
	return found
}

// variable is what differs from run to run, and for each kind the expression that matches another of its kind.
var variable = []struct{ sample, any *regexp.Regexp }{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), regexp.MustCompile(`[-0-9T:.]+Z`)},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), regexp.MustCompile(`[-0-9a-f]{36}`)},
	{regexp.MustCompile(`Milliseconds: \d+`), regexp.MustCompile(`Milliseconds: \d+`)},
	{regexp.MustCompile(`\b(\d+[dhms])+\b`), regexp.MustCompile(`(\d+[dhms])+`)},
}

// matches reports whether a command printed what the page shows. Empty lines do not count.
func matches(shown, printed string) bool {
	var lines []string
	for line := range strings.Lines(shown) {
		switch line = strings.TrimSpace(line); line {
		case "":
		case "...":
			lines = append(lines, `(.*\n)*`)
		default:
			lines = append(lines, `\s*`+pattern(line)+` *\n`)
		}
	}
	return regexp.MustCompile(`^` + strings.Join(lines, "") + `\s*$`).MatchString(printed)
}

// pattern matches a line that differs from the given one in no more than it may.
func pattern(line string) string {
	for _, v := range variable {
		if at := v.sample.FindStringIndex(line); at != nil {
			return pattern(line[:at[0]]) + v.any.String() + pattern(line[at[1]:])
		}
	}
	return regexp.MustCompile(` +`).ReplaceAllString(regexp.QuoteMeta(line), ` +`)
}

func TestCommands(t *testing.T) {
	got := commands("$ a \\\n  b\nprinted\n\n$ c\n")
	want := []command{{"a \\\n  b\n", "printed\n\n"}, {"c\n", ""}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMatches(t *testing.T) {
	tests := map[string]struct {
		shown, printed string
		want           bool
	}{
		"same":                 {"a b\n", "a b\n", true},
		"other columns":        {"a   b\n", "a b  \n", true},
		"other age":            {"a 41s\n", "a 3m12s\n", true},
		"other time":           {"at 2026-11-23T15:00:11.123456Z.\n", "at 2027-01-02T03:04:05Z.\n", true},
		"other UID":            {"3c2f6d1e-8f6b-4e0e-9a53-0d1f6f2f9f5e\n", "00000000-8f6b-4e0e-9a53-0d1f6f2f9f5f\n", true},
		"lines left out":       {"a\n...\nz\n", "a\nb\nc\nz\n", true},
		"other duration":       {"aMilliseconds: 7\n", "aMilliseconds: 113\n", true},
		"no lines left out":    {"a\n...\nz\n", "a\nz\n", true},
		"characters of regexp": {"a.b [1]\n", "a.b [1]\n", true},

		"other word":     {"a Delivered\n", "a Undeliverable\n", false},
		"other number":   {"a 200\n", "a 503\n", false},
		"no age":         {"a 41s\n", "a\n", false},
		"empty lines":    {"a\n\nb\n", "\na\nb\n\n", true},
		"line more":      {"a\n", "a\nb\n", false},
		"line less":      {"a\nb\n", "a\n", false},
		"nothing":        {"a\n", "", false},
		"a dot is a dot": {"a.b\n", "axb\n", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := matches(tc.shown, tc.printed); got != tc.want {
				t.Errorf("%t for %q and %q", got, tc.shown, tc.printed)
			}
		})
	}
}
