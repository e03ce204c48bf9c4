// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/rest"
)

const (
	jsonType       = "application/json"
	jsonPatchType  = "application/json-patch+json"
	mergePatchType = "application/merge-patch+json"

	// metadataOnly asks for an answer without spec and status, so that reading it costs the generator little.
	metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 20
)

// api makes requests of the API server as the cluster's administrator, who is exempt from flow control. It sends bytes
// as they are and reads little: the load generator must not be what limits the load.
type api struct {
	client *http.Client
	host   string
}

func newAPI(cfg *rest.Config) (*api, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("a client for the API server: %w", err)
	}
	return &api{client: client, host: strings.TrimSuffix(cfg.Host, "/")}, nil
}

// statusError is an answer other than 2xx.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the API server answered %d: %s", e.code, e.text)
}

// answered reports whether err is an answer with that status code.
func answered(err error, code int) bool {
	status, ok := errors.AsType[*statusError](err)
	return ok && status.code == code
}

// do makes a request and returns the answer's body. body and its contentType may be empty. An answer other than 2xx is
// a *statusError.
func (a *api) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	response, err := a.open(ctx, method, path, contentType, metadataOnly, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// open makes a request and returns its answer, whose body the caller closes.
func (a *api) open(
	ctx context.Context, method, path, contentType, accept string, body []byte,
) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("User-Agent", "bench")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err // net/http says which method and URL
	}
	if response.StatusCode > 299 {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return nil, fmt.Errorf("%s %s: %w", method, path, &statusError{response.StatusCode, string(text)})
	}
	return response, nil
}

// identity is what the floor needs of an answer, to write the object's status.
type identity struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// create posts an object to a collection and returns its resource version.
func (a *api) create(ctx context.Context, collection string, body []byte) (string, error) {
	answer, err := a.do(ctx, http.MethodPost, collection, jsonType, body)
	if err != nil {
		return "", err
	}
	var created identity
	if err := json.Unmarshal(answer, &created); err != nil {
		return "", fmt.Errorf("the answer to POST %s: %w", collection, err)
	}
	return created.Metadata.ResourceVersion, nil
}

// names returns the names of what a collection holds.
func (a *api) names(ctx context.Context, collection string) ([]string, error) {
	const metadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	response, err := a.open(ctx, http.MethodGet, collection, "", metadataList, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var list struct {
		Items []identity `json:"items"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&list); err != nil {
		return nil, fmt.Errorf("the answer to GET %s: %w", collection, err)
	}
	names := make([]string, 0, len(list.Items))
	for _, item := range list.Items {
		names = append(names, item.Metadata.Name)
	}
	return names, nil
}

// writeStatus writes the status of an object as the operator does: with a merge patch that holds if nobody has changed
// the object since.
func (a *api) writeStatus(ctx context.Context, path, resourceVersion string, status []byte) error {
	body := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q},"status":%s}`, resourceVersion, status)
	_, err := a.do(ctx, http.MethodPatch, path+"/status", mergePatchType, body)
	return err
}
