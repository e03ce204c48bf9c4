// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package commandstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/webhookdelivery/operator/hack/operator"
)

var (
	link    = regexp.MustCompile(`\]\(([^) ]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// TestLinks follows the links between pages, files and headings.
func TestLinks(t *testing.T) {
	found := pages(t)
	for path, page := range found {
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(filepath.Join(operator.Root(), to)); err != nil {
				t.Errorf("%s: %s leads nowhere", path, match[1])
			}
			if anchor != "" && !anchors(found[to])[anchor] {
				t.Errorf("%s: %s leads to no heading", path, match[1])
			}
		}
	}
}

// TestIndex holds docs/README.md against what there is.
func TestIndex(t *testing.T) {
	found := pages(t)
	for path := range found {
		name, below := strings.CutPrefix(path, "docs/")
		if below && name != "README.md" && !strings.Contains(name, "/") && !strings.Contains(found["docs/README.md"], "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

// anchors returns those that GitHub gives the headings of a page.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(strings.TrimSpace(text), " ", "-")] = true
	}
	return found
}
