// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/webhookdelivery/operator/hack/receiver"
)

// The program as another process uses it: address from stdout, authority from a file, account from the admin address.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	secretFile, caFile := filepath.Join(dir, "secret"), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(secretFile, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stdout, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{
			"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--ca-out=" + caFile, "--secret-file=" + secretFile,
			"--skip-signature", "--fail-first=1", "--status=429", "--retry-after=7",
		}, write, t.Output())
		_ = write.CloseWithError(err) // never fails
		ended <- err
	}()
	var at addresses
	if err := json.NewDecoder(stdout).Decode(&at); err != nil {
		t.Fatal(err)
	}
	client := trustingClient(t, caFile)
	for i, want := range []int{http.StatusTooManyRequests, http.StatusOK} {
		resp := post(t, client, at.URL+"/webhook")
		if resp.StatusCode != want || (i == 0) != (resp.Header.Get("Retry-After") == "7") {
			t.Errorf("attempt %d: %d, %v", i+1, resp.StatusCode, resp.Header)
		}
	}
	resp, err := client.Get(at.AdminURL + "/account")
	if err != nil {
		t.Fatal(err)
	}
	records, err := receiver.ReadRecords(resp.Body)
	if err != nil || len(records) != 2 || records[1].Secret != receiver.Passed || records[1].TaskID != "a" {
		t.Errorf("account %+v, error %v", records, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if resp, err := client.Get(at.URL); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: response %v, error %v", resp, err)
	}
}

func trustingClient(t *testing.T, caFile string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

func post(t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"task_id":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-webhook-secret", "s3cret")
	req.Header.Set("webhook-id", "id-1")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp
}

func TestRunRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown flag":        {[]string{"--no-such-flag"}, "no-such-flag"},
		"argument":            {[]string{"now"}, `"now"`},
		"no such secret":      {[]string{"--secret-file=" + empty + ".no"}, "no such file"},
		"empty secret":        {[]string{"--secret-file=" + empty}, "is empty"},
		"impossible status":   {[]string{"--status=99"}, "status 99"},
		"authority of plain":  {[]string{"--plain", "--ca-out=" + empty}, "ca-out"},
		"authority unwritten": {[]string{"--listen=127.0.0.1:0", "--ca-out=" + empty + "/ca.pem"}, "to trust"},
		"help":                {[]string{"--help"}, flag.ErrHelp.Error()},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tc.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if name == "help" && !errors.Is(err, flag.ErrHelp) {
				t.Errorf("error %v", err)
			}
		})
	}
}
