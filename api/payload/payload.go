// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package payload is the JSON object that a WebhookDelivery carries. It is a package of its own so that the generated
// apply configurations use the type as it is: a generated one would know task_id only and drop the rest.
//
// +kubebuilder:object:generate=true
package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	sigsjson "sigs.k8s.io/json"
)

// Payload is any JSON object, kept as the bytes that were read so that every attempt sends the same ones.
//
// +kubebuilder:pruning:PreserveUnknownFields
type Payload struct {
	// task_id identifies the task for the receiver, who uses it to recognise duplicates. It is the only member that the
	// operator knows: it can be used as a field selector, spec.payload.task_id.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	TaskID string `json:"task_id,omitempty"`

	// Raw is the whole object in JSON, task_id included. It is what is sent.
	Raw []byte `json:"-"`
}

// New returns v, which must marshal to a JSON object, as a Payload.
func New(v any) (Payload, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return Payload{}, fmt.Errorf("marshalling the payload: %w", err)
	}
	var p Payload
	if err := p.UnmarshalJSON(raw); err != nil {
		return Payload{}, err
	}
	return p, nil
}

// MarshalJSON returns Raw, or an object of task_id alone where there is no Raw.
func (p Payload) MarshalJSON() ([]byte, error) {
	if p.Raw != nil {
		return p.Raw, nil
	}
	type members Payload
	return json.Marshal(members(p))
}

// UnmarshalJSON keeps a copy of data, which must be a JSON object whose task_id, if present, is a string.
func (p *Payload) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errors.New("payload must be a JSON object")
	}
	type members Payload
	var m members
	// As the API server reads it: encoding/json would take Task_ID for task_id, and fail on what the schema permits.
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(data, &m); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	*p = Payload{TaskID: m.TaskID, Raw: bytes.Clone(data)}
	return nil
}
