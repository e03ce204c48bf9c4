// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// sightings are when a watch client first saw each object.
type sightings struct {
	mu   sync.Mutex
	seen map[string]time.Time
	err  error // why it watches no more
}

func (s *sightings) of(name string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.seen[name]
	return at, ok
}

// atLeast reports whether so many objects have been seen. The error says why no more will be.
func (s *sightings) atLeast(count int) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen) >= count, s.err
}

func (s *sightings) see(name string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.seen[name]; !again {
		s.seen[name] = now
	}
}

func (s *sightings) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = fmt.Errorf("the watch client stopped: %w", err)
}

// watch sees the objects of a namespace, until ctx ends, as a watch client does that only reads which object an event
// is about: nothing that uses a watch can know of an object earlier. It watches when it returns.
func (a *api) watch(ctx context.Context, namespace string) (*sightings, error) {
	s := &sightings{seen: map[string]time.Time{}}
	version := "0"
	body, err := a.events(ctx, namespace, version)
	if err != nil {
		return nil, err
	}
	go func() {
		for err == nil {
			version, err = s.read(body, version)
			_ = body.Close() // read has told what is wrong
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				// The API server ends a watch now and then; clients go on from where it ended.
				body, err = a.events(ctx, namespace, version)
			}
		}
		s.end(err)
	}()
	return s, nil
}

func (a *api) events(ctx context.Context, namespace, since string) (io.ReadCloser, error) {
	path := collection(namespace) + "?watch=true&resourceVersion=" + since
	response, err := a.open(ctx, http.MethodGet, path, "", jsonType, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// read sees what the events are about, and returns the resource version of the last and why there are no more.
func (s *sightings) read(events io.Reader, version string) (string, error) {
	for decoder := json.NewDecoder(events); ; {
		var event struct {
			Type   string   `json:"type"`
			Object identity `json:"object"`
		}
		if err := decoder.Decode(&event); err != nil {
			return version, err
		}
		if event.Type == "ERROR" {
			return version, errors.New("the API server has forgotten where the watch was")
		}
		s.see(event.Object.Metadata.Name, time.Now())
		version = event.Object.Metadata.ResourceVersion
	}
}
