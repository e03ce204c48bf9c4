// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestLogFilter is a receiver that sends its request back after the response, for net/http to write it to the log.
func TestLogFilter(t *testing.T) {
	r := listen(t, "127.0.0.1:0", nil, func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, noContent+"HTTP/1.1 200 "+fmt.Sprint(request.Header))
	})
	raw, filtered := &lines{}, &lines{}
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.MultiWriter(raw, LogFilter(filtered)))
	s := newSender(t, nil)
	if result := send(t, s, r.url); result.Class != Delivered {
		t.Fatalf("%+v", result)
	}
	s.Close()
	expectNoClientGoroutines(t)
	log.Print("another line")
	if !strings.Contains(raw.String(), testSecret) {
		t.Errorf("net/http logs %q: LogFilter is no longer needed", raw)
	}
	got := filtered.String()
	if strings.Contains(got, testSecret) || !strings.Contains(got, unsolicited+" (withheld)\n") ||
		!strings.Contains(got, "another line\n") {
		t.Errorf("%q", got)
	}
}

type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}
