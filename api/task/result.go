// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/webhookdelivery/operator/api/payload"
)

// Status is how a task ended.
type Status string

// The values of Status.
const (
	Finished Status = "finished"
	Failed   Status = "failed"
)

// MaxPayload is the largest payload, in bytes of JSON as the API server stores it, that an operator with its default
// --max-payload sends.
const MaxPayload = 256 << 10

// maxTaskID is the CRD's limit, in characters.
const maxTaskID = 253

// Result is what the receiver is told. It becomes the payload, in the members task_id, task_type, status, percentage
// and error, and those of Extra beside them.
type Result struct {
	// TaskID identifies the task for the receiver, who recognises duplicates by it. Empty: the task's UID.
	TaskID string
	// TaskType says what kind of task it was. Empty: the task's kind in lower case.
	TaskType string
	// Status is Finished or Failed.
	Status Status
	// Percentage is how far a failed task came, from 0 to 100; 0 is left out. That of a finished task is 100 by itself.
	Percentage int
	// Error says why a failed task failed.
	Error string
	// Extra has members for the payload beside those above, in whatever marshals to JSON. An API server keeps integers
	// exactly if they fit into 64 bits with their sign, but no larger ones: give those as strings.
	Extra map[string]any
}

// payload returns the bytes that an API server stores, and the operator sends, for the result: keys sorted, numbers in
// their shortest form.
func (r Result) payload(owner metav1.Object, kind schema.GroupVersionKind) (payload.Payload, error) {
	members := r.members(owner, kind)
	errs := r.check(members)
	for key, value := range r.Extra {
		if reserved[key] {
			errs = append(errs, fmt.Errorf("the result's Extra has the member %q, which has a field of its own", key))
		}
		members[key] = value
	}
	if err := errors.Join(errs...); err != nil {
		return payload.Payload{}, err
	}
	for range 2 { // an API server reads what it is given, and then what it has stored: -0.0 becomes -0, and that 0
		raw, err := json.Marshal(members)
		if err == nil {
			members = nil
			err = utiljson.Unmarshal(raw, &members)
		}
		if err != nil {
			return payload.Payload{}, fmt.Errorf("the result's Extra: %w", err)
		}
	}
	p, err := payload.New(members)
	if err == nil && len(p.Raw) > MaxPayload {
		err = fmt.Errorf("the payload has %d bytes, but at most %d are sent: store a large result elsewhere and "+
			"send where it is", len(p.Raw), MaxPayload)
	}
	return p, err
}

// reserved are the payload's members that have a field in Result.
var reserved = map[string]bool{"task_id": true, "task_type": true, "status": true, "percentage": true, "error": true}

// members are those of the payload that are not Extra.
func (r Result) members(owner metav1.Object, kind schema.GroupVersionKind) map[string]any {
	members := map[string]any{"task_id": r.TaskID, "task_type": r.TaskType, "status": string(r.Status)}
	if r.TaskID == "" {
		members["task_id"] = string(owner.GetUID())
	}
	if r.TaskType == "" {
		members["task_type"] = strings.ToLower(kind.Kind)
	}
	switch {
	case r.Status == Finished:
		members["percentage"] = "100"
	case r.Percentage > 0:
		members["percentage"] = strconv.Itoa(r.Percentage)
	}
	if r.Error != "" {
		members["error"] = r.Error
	}
	return members
}

func (r Result) check(members map[string]any) []error {
	var errs []error
	if id := members["task_id"].(string); !utf8.ValidString(id) || utf8.RuneCountInString(id) > maxTaskID {
		errs = append(errs, fmt.Errorf("the task id must be UTF-8 and have at most %d characters", maxTaskID))
	}
	switch {
	case r.Status != Finished && r.Status != Failed:
		errs = append(errs, fmt.Errorf("the result's Status is %q, but must be %q or %q", r.Status, Finished, Failed))
	case r.Status == Failed && r.Error == "":
		errs = append(errs, errors.New("the result of a failed task needs an Error that says why it failed"))
	case r.Status == Finished && r.Error != "":
		errs = append(errs, errors.New("the result of a finished task must not have an Error"))
	}
	if r.Percentage < 0 || r.Percentage > 100 || r.Status == Finished && r.Percentage%100 != 0 {
		errs = append(errs, fmt.Errorf("the result's Percentage is %d, but must be from 0 to 100, and that of a "+
			"finished task 100", r.Percentage))
	}
	return errs
}
