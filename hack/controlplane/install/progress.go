// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	reportEvery = 15 * time.Second
	keptLines   = 20
)

// goProgress follows what the go command writes to its standard error.
type goProgress struct {
	mu                   sync.Mutex
	downloaded, compiled int
	last                 []string // the last lines that are not progress: the cause, should it fail
}

func (p *goProgress) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloaded++
	case line != "" && !strings.ContainsAny(line, " \t:"): // -v prints each package it compiles
		p.compiled++
	default:
		p.last = append(p.last, line)
		p.last = p.last[max(0, len(p.last)-keptLines):]
	}
}

func (p *goProgress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	if p.downloaded > 0 {
		parts = append(parts, fmt.Sprintf("%d modules downloaded", p.downloaded))
	}
	return strings.Join(append(parts, fmt.Sprintf("%d packages compiled", p.compiled)), ", ")
}

func (p *goProgress) errorText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}

// runWithProgress runs a go command and reports every 15 seconds how far it is.
func runWithProgress(cmd *exec.Cmd) error {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	progress := &goProgress{}
	ctx, done := context.WithCancel(context.Background())
	go report(ctx, progress)
	follow(stderr, progress)
	done()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, progress.errorText())
	}
	return nil
}

// follow returns when the command has closed its standard error, that is, at its end.
func follow(stderr io.Reader, progress *goProgress) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		progress.add(lines.Text())
	}
	_, _ = io.Copy(io.Discard, stderr) // after a line too long to scan
}

func report(ctx context.Context, progress fmt.Stringer) {
	start := time.Now()
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			say("  %s: %s", round(time.Since(start)), progress)
		case <-ctx.Done():
			return
		}
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }
