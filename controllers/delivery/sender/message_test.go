// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"short":           {"503 Service Unavailable", "503 Service Unavailable"},
		"empty":           {"", ""},
		"just fits":       {strings.Repeat("a", 256), strings.Repeat("a", 256)},
		"one too many":    {strings.Repeat("a", 257), strings.Repeat("a", 253) + "…"},
		"wide at the cut": {strings.Repeat("a", 251) + "€€", strings.Repeat("a", 251) + "…"},
		"lines":           {"a\nb\r\nc\u2028d\u0085e", "a b  c d e"},
		"NUL and DEL":     {"a\x00b\x7fc", "a b c"},
		"invalid UTF-8":   {"a\xff\xfeb", "a\ufffdb"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := clip(tt.text); got != tt.want {
				t.Errorf("clip(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestStatusMessage(t *testing.T) {
	tests := map[int]string{200: "200 OK", 418: "418 I'm a teapot", 599: "599", 999: "999"}
	for code, want := range tests {
		if got := statusMessage(code); got != want {
			t.Errorf("statusMessage(%d) = %q, want %q", code, got, want)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		"", "503 Service Unavailable", "a\nb", "\xff", strings.Repeat("€", 100), strings.Repeat("\xf0\x9f", 200), "\u2028",
		strings.Repeat("a", 253) + "\U0001F600",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clip(text)
		if len(got) > 256 || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) ||
			strings.ContainsAny(got, "\u2028\u2029") {
			t.Errorf("clip(%q) = %q", text, got)
		}
		if again := clip(got); again != got {
			t.Errorf("clip(%q) = %q, and again %q", text, got, again)
		}
		plain := utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) &&
			!strings.ContainsAny(text, "\u2028\u2029")
		if plain && len(text) <= 256 && got != text {
			t.Errorf("clip(%q) = %q", text, got)
		}
	})
}
