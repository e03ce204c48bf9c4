// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"log"

	"github.com/go-logr/logr"
)

// newErrorLog returns what net/http writes its complaints to. Failed handshakes, which every scanner of the internet
// leaves behind, are for debugging; panics are not.
func newErrorLog(logger logr.Logger) *log.Logger { return log.New(errorLog{logger}, "", 0) }

type errorLog struct{ logger logr.Logger }

func (l errorLog) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		l.logger.V(1).Info("TLS handshake failed", "detail", text)
	} else {
		l.logger.Error(nil, "HTTP server failed", "detail", text)
	}
	return len(line), nil
}
