// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// delayedBody hands on what a body holds, each piece later by the lag that was in force when it came. It reads ahead,
// or the body would become slow instead of late.
type delayedBody struct {
	io.Closer
	ctx    context.Context
	pieces chan piece
	rest   piece // of which a part has been handed on
}

type piece struct {
	data []byte
	err  error
	due  time.Time
}

// delay delays body until ctx ends, which fails it.
func delay(ctx context.Context, body io.ReadCloser, lag *atomic.Int64) io.ReadCloser {
	b := &delayedBody{Closer: body, ctx: ctx, pieces: make(chan piece, 1<<16)}
	go func() {
		for {
			data := make([]byte, 32<<10)
			n, err := body.Read(data)
			select {
			case b.pieces <- piece{data[:n:n], err, time.Now().Add(time.Duration(lag.Load()))}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return b
}

// Read implements io.Reader.
func (b *delayedBody) Read(data []byte) (int, error) {
	for len(b.rest.data) == 0 {
		if b.rest.err != nil {
			return 0, b.rest.err
		}
		select {
		case b.rest = <-b.pieces:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
		if err := pause(b.ctx, time.Until(b.rest.due)); err != nil {
			return 0, err
		}
	}
	n := copy(data, b.rest.data)
	b.rest.data = b.rest.data[n:]
	return n, nil
}
