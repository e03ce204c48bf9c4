// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

const profileQuery = "/debug/pprof/profile?seconds=10"

// profiled runs do and meanwhile takes a profile of the processor's use by the manager and by the API server, into
// files whose names begin with name, for go tool pprof.
func (c *cluster) profiled(ctx context.Context, name string, do func() error) error {
	if err := os.MkdirAll(c.settings.profiles, 0o750); err != nil {
		return err
	}
	path := filepath.Join(c.settings.profiles, name)
	errs := make(chan error, 2)
	go func() { errs <- fetch(ctx, http.DefaultClient, "http://"+c.pprof+profileQuery, path+"-manager.pprof") }()
	go func() { errs <- fetch(ctx, c.api.client, c.api.host+profileQuery, path+"-apiserver.pprof") }()
	return errors.Join(do(), <-errs, <-errs)
}

// collectGarbage makes the manager do so, and keeps a profile of what is left on its heap if profiles are wanted.
func (c *cluster) collectGarbage(ctx context.Context, name string) error {
	path := os.DevNull
	if c.settings.profiles != "" {
		if err := os.MkdirAll(c.settings.profiles, 0o750); err != nil {
			return err
		}
		path = filepath.Join(c.settings.profiles, name+"-heap.pprof")
	}
	return fetch(ctx, http.DefaultClient, "http://"+c.pprof+"/debug/pprof/heap?gc=1", path)
}

// fetch writes what a GET of the URL returns to a file.
func fetch(ctx context.Context, client *http.Client, url, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("a profile: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("a profile: GET %s: %s", url, response.Status)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("a profile: %w", err)
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
