// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	maxBody = 4 << 10
	// maxTaskID is the CRD's limit, in characters.
	maxTaskID = 253
)

// query is what a request asks for.
type query struct {
	TaskID    string `json:"task_id"`
	Namespace string `json:"namespace"`
}

// parse reads the query from the URL of a GET or the body of a POST. The error is a *refusal and depends on nothing but
// the request.
func parse(w http.ResponseWriter, r *http.Request) (q query, err error) {
	if r.Method == http.MethodGet {
		q, err = fromURL(r.URL.RawQuery)
	} else {
		q, err = fromBody(http.MaxBytesReader(w, r.Body, maxBody))
	}
	switch {
	case err != nil:
		return query{}, err
	case q.TaskID == "" || q.Namespace == "":
		// Without the check an empty task_id would find every delivery that has none.
		return query{}, malformed("task_id and namespace are required")
	case !utf8.ValidString(q.TaskID) || utf8.RuneCountInString(q.TaskID) > maxTaskID:
		return query{}, malformed("task_id must be UTF-8 and have at most 253 characters")
	case len(validation.IsDNS1123Label(q.Namespace)) > 0:
		return query{}, malformed("namespace must be the name of a Kubernetes namespace")
	}
	return q, nil
}

func fromURL(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil || len(values["task_id"]) > 1 || len(values["namespace"]) > 1 {
		return query{}, malformed("the query must be task_id=…&namespace=…, percent-encoded")
	}
	return query{TaskID: values.Get("task_id"), Namespace: values.Get("namespace")}, nil
}

func fromBody(body io.Reader) (q query, err error) {
	raw, err := io.ReadAll(body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return q, &refusal{code: http.StatusRequestEntityTooLarge, text: "the body must have at most 4096 bytes"}
	}
	if err == nil {
		err = json.Unmarshal(raw, &q)
	}
	if err != nil {
		return query{}, malformed(`the body must be {"task_id": "…", "namespace": "…"}`)
	}
	return q, nil
}

func malformed(text string) error { return &refusal{code: http.StatusBadRequest, text: text} }
