// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedRightsAreTheShippedOnes compares the table in docs/security.md with the roles of all that is shipped.
func TestDocumentedRightsAreTheShippedOnes(t *testing.T) {
	var shipped []string
	for _, object := range allBuilt(t) {
		if !isRole(object) {
			continue
		}
		for _, rule := range role(t, object).Rules {
			for _, line := range describe(rule) {
				shipped = append(shipped, object.GetKind()+" "+object.GetName()+": "+line)
			}
		}
	}
	slices.Sort(shipped)
	if diff := cmp.Diff(slices.Compact(shipped), documentedRights(t)); diff != "" {
		t.Errorf("docs/security.md, RBAC (-shipped +documented):\n%s", diff)
	}
}

// page is the text of a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documentedRights are the lines of the table below the heading RBAC, written as describe writes them, and sorted.
func documentedRights(t *testing.T) []string {
	t.Helper()
	_, section, _ := strings.Cut(page(t, "security.md"), "\n## RBAC\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rights []string
	for line := range strings.SplitSeq(section, "\n") {
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		if len(cells) != 6 || !strings.Contains(cells[1], "Role ") {
			continue
		}
		verbs := strings.ReplaceAll(strings.TrimSpace(cells[3]), ",", "")
		rights = append(rights, strings.TrimSpace(cells[1])+": "+strings.TrimSpace(cells[2])+": "+verbs)
	}
	slices.Sort(rights)
	return rights
}
