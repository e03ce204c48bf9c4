// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
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
	raw, filtered := make(chan string, 10), make(chan string, 10)
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.MultiWriter(lines(raw), LogFilter(lines(filtered))))
	s := newSender(t, nil)
	if result := send(t, s, r.url); result.Class != Delivered {
		t.Fatalf("%+v", result)
	}
	if line := <-raw; !strings.Contains(line, testSecret) {
		t.Errorf("net/http logs %q: LogFilter is no longer needed", line)
	}
	log.Print("another line")
	if line := <-filtered; strings.Contains(line, testSecret) || !strings.HasSuffix(line, unsolicited+" (withheld)\n") {
		t.Errorf("%q", line)
	}
	if line := <-filtered; !strings.HasSuffix(line, "another line\n") {
		t.Errorf("%q", line)
	}
}

// lines takes what is written, line by line.
type lines chan<- string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
