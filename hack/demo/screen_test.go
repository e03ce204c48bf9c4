// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kubectl's table at three times: only the age differs between the first and the second.
const (
	pending   = "NAME   PHASE     AGE\na      Pending   9s\n"
	older     = "NAME   PHASE     AGE\na      Pending   10s\n"
	delivered = "NAME   PHASE       AGE\na      Delivered   11s\n"
)

func TestScreen(t *testing.T) {
	const footer = "s since the samples were applied"
	draw := func(table, seconds string) string {
		return "\n" + table + "\n" + seconds + " " + footer + "\n"
	}
	const wipe = "\x1b[5A\x1b[J" // empty line, two of the table, empty line, footer
	tests := map[string]struct {
		width func() int
		want  string
	}{
		"no terminal": {
			want: "\n9 " + footer + ":\n" + pending + "said\n\n11 " + footer + ":\n" + delivered + "end\n",
		},
		"terminal": {
			width: func() int { return 80 },
			want: draw(pending, "9") + wipe + draw(older, "10") + wipe + "said\n" + draw(delivered, "11") +
				"end\n",
		},
		"narrow terminal": {
			width: func() int { return 6 },
			want: "\nNAME  \na     \n\n9 s si\n" + wipe + "\nNAME  \na     \n\n10 s s\n" + wipe + "said\n" +
				"\nNAME  \na     \n\n11 s s\n" + "end\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &screen{out: &out, width: tc.width}
			s.show(pending, 9*time.Second)
			s.show(older, 10*time.Second)
			s.say("said")
			s.show(delivered, 11*time.Second)
			s.keep()
			s.say("end")
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
