// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"io"
)

// unsolicited begins a line that net/http writes with the standard logger, with no way to turn it off, when a receiver
// sends more than its response. The line goes on to quote what was sent, which may be the secret.
const unsolicited = "Unsolicited response received on idle HTTP channel"

// LogFilter returns a writer for log.SetOutput that writes to w all but what net/http quotes of a receiver. Whoever
// uses a Sender has to set it, or to silence the standard logger.
func LogFilter(w io.Writer) io.Writer {
	return logFilter{w}
}

type logFilter struct {
	out io.Writer
}

// Write takes one whole line, as log.Logger writes it.
func (f logFilter) Write(line []byte) (int, error) {
	shown := line
	if i := bytes.Index(line, []byte(unsolicited)); i >= 0 {
		shown = append(line[:i+len(unsolicited):i+len(unsolicited)], " (withheld)\n"...)
	}
	if _, err := f.out.Write(shown); err != nil {
		return 0, err
	}
	return len(line), nil
}
