// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/receiver/pipenet"
	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// overPipes runs test against an endpoint on a network in memory, in virtual time. get asks for task-1 with its secret
// over a connection of its own and returns the status.
func overPipes(t *testing.T, api *apiServer, test func(t *testing.T, network *pipenet.Listener, get func() int)) {
	virtualtime.Test(t, func(t *testing.T) {
		endpoint, _ := api.endpoint(nil)
		network := pipenet.Listen()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- endpoint.serve(ctx, network) }()
		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}}
		test(t, network, func() int {
			r, _ := http.NewRequest(http.MethodGet, "http://pipe/fetch?task_id=task-1&namespace=tasks", nil)
			withSecret("right")(r)
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Error(err)
			}
			return response.StatusCode
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSilentConnections has as many connections as are accepted, and nothing comes over them. They are given up when no
// header has come in time; until then, and no longer, others have to wait.
func TestSilentConnections(t *testing.T) {
	overPipes(t, oneTask(), func(t *testing.T, network *pipenet.Listener, get func() int) {
		for range 512 {
			connection, err := network.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
		}
		start := time.Now()
		code := get()
		if took := time.Since(start); code != http.StatusOK || took < 5*time.Second || took > 5100*time.Millisecond {
			t.Errorf("status %d after %s, want 200 after 5 s", code, took)
		}
	})
}

// TestSlowReadersAreCutOff has clients that never read large answers. They hold others up for a bounded time.
func TestSlowReadersAreCutOff(t *testing.T) {
	api := oneTask()
	api.deliveries[0].Spec.Payload.Raw = []byte(`{"x":"` + strings.Repeat("x", 20<<20) + `"}`)
	overPipes(t, api, func(t *testing.T, network *pipenet.Listener, get func() int) {
		connection, err := network.DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		_, err = fmt.Fprint(connection, "GET /fetch?task_id=task-1&namespace=tasks HTTP/1.1\r\nHost: pipe\r\n"+
			"X-Webhook-Secret: right\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if code := get(); code != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", code)
		}
		time.Sleep(20 * time.Second)
		if code := get(); code != http.StatusOK {
			t.Errorf("status %d, want 200", code)
		}
	})
}
