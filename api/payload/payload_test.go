// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package payload_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/webhookdelivery/operator/api/payload"
)

func TestUnmarshal(t *testing.T) {
	tests := map[string]struct {
		json   string
		taskID string
		err    string
	}{
		"empty object":                     {`{}`, "", ""},
		"task_id":                          {`{"task_id":"550e8400"}`, "550e8400", ""},
		"anything else is kept":            {` { "z":1.0, "a":[null,{"b":12345678901234567890}], "task_id":"x" }`, "x", ""},
		"another member, in other letters": {`{"Task_ID":5,"TASK_ID":[]}`, "", ""},
		"not an object":                    {`["task_id"]`, "", "payload must be a JSON object"},
		"null":                             {`null`, "", "payload must be a JSON object"},
		"task_id that is not a text":       {`{"task_id":7}`, "", "cannot unmarshal number"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var p payload.Payload
			data := []byte(tc.json)
			err := p.UnmarshalJSON(data)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			clear(data) // the bytes belong to the decoder
			if diff := cmp.Diff(payload.Payload{TaskID: tc.taskID, Raw: []byte(tc.json)}, p); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoundTripKeepsEveryMember(t *testing.T) {
	p, err := payload.New(map[string]any{"task_id": "x", "nested": map[string]any{"n": 1}, "html": "<&>"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(struct{ P payload.Payload }{p})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"P":{"html":"\u003c\u0026\u003e","nested":{"n":1},"task_id":"x"}}`
	if string(raw) != want {
		t.Errorf("marshalled %s, want %s", raw, want)
	}
	if raw, err = json.Marshal(payload.Payload{TaskID: "only"}); err != nil || string(raw) != `{"task_id":"only"}` {
		t.Errorf("without Raw: %s, %v", raw, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, v := range map[string]any{"a text": "x", "a list": []int{1}, "what JSON cannot say": func() {}} {
		t.Run(name, func(t *testing.T) {
			if p, err := payload.New(v); err == nil {
				t.Errorf("New returned %s", p.Raw)
			}
		})
	}
}
