// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen shows lines, and a table that changes. On a terminal the table is drawn over itself; elsewhere it is printed
// again when more of it has changed than ages.
type screen struct {
	out   io.Writer
	width func() int // of the terminal, in characters; nil if there is none
	table string     // as it was printed last, without ages
	drawn int        // lines on the terminal to draw over
}

func newScreen(f *os.File) *screen {
	s := &screen{out: f}
	if fd := int(f.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		s.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width == 0 {
				return math.MaxInt // better too wide than nothing
			}
			return width
		}
	}
	return s
}

// begin shows what is about to be done; the next say ends the line.
func (s *screen) begin(doing string) { fmt.Fprintf(s.out, "%-49s", doing) }

// say shows a line, above the table where that is drawn again.
func (s *screen) say(format string, args ...any) {
	fmt.Fprint(s.out, s.wipe())
	fmt.Fprintf(s.out, format+"\n", args...)
}

// show shows the table as kubectl printed it, the given time after the samples were applied.
func (s *screen) show(table string, elapsed time.Duration) {
	if s.width != nil {
		text := fmt.Sprintf("\n%s\n%.0f s since the samples were applied\n", table, elapsed.Seconds())
		fmt.Fprint(s.out, s.wipe(), cut(text, s.width())) // a line that took two would spoil the count
		s.drawn = strings.Count(text, "\n")
		return
	}
	if same := withoutAges(table); same != s.table {
		s.table = same
		fmt.Fprintf(s.out, "\n%.0f s since the samples were applied:\n%s", elapsed.Seconds(), table)
	}
}

// keep leaves the table where it is.
func (s *screen) keep() { s.drawn = 0 }

// wipe returns what takes the table off the terminal.
func (s *screen) wipe() string {
	if s.drawn == 0 {
		return ""
	}
	up := s.drawn
	s.drawn = 0
	return fmt.Sprintf("\x1b[%dA\x1b[J", up)
}

// withoutAges cuts off the last column of kubectl's table.
func withoutAges(table string) string {
	header, _, _ := strings.Cut(table, "\n")
	column := strings.LastIndex(header, "AGE")
	if column < 0 {
		return table
	}
	return cut(table, column)
}

// cut cuts off what is beyond the width in each line of text, which is ASCII.
func cut(text string, width int) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		kept.WriteString(line[:min(width, len(line))] + "\n")
	}
	return kept.String()
}
