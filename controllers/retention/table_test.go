// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

const (
	tableOf = `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"continue":"more"},
		"columnDefinitions":[{"name":"Name"},{"name":"TTL"},{"name":"Phase"},{"name":"Completed"}],"rows":[`
	metadata = `,"object":{"kind":"PartialObjectMetadata","metadata":
		{"namespace":"tasks","name":"a","uid":"u","resourceVersion":"7"}}}`
)

func TestParsePage(t *testing.T) {
	o := object{types.NamespacedName{Namespace: "tasks", Name: "a"}, "u", "7"}
	for name, test := range map[string]struct {
		rows string
		want []finished
	}{
		"none":     {"", []finished{}},
		"no TTL":   {`{"cells":["a",null,"Delivered","2026-01-02T03:04:05Z"]` + metadata, []finished{{o, completed, nil}}},
		"TTL of 0": {`{"cells":["a",0,"","2026-01-02T03:04:05Z"]` + metadata, []finished{{o, completed, new(time.Duration(0))}}},
		"TTL":      {`{"cells":["a",60,"","2026-01-02T03:04:05Z"]` + metadata, []finished{{o, completed, new(time.Minute)}}},
		"no end":   {`{"cells":["a",0,"Delivered",null]` + metadata, []finished{}},
		"two":      {strings.Repeat(`,{"cells":["a",1,"","2026-01-02T03:04:05Z"]`+metadata, 2)[1:], []finished{{o, completed, new(time.Second)}, {o, completed, new(time.Second)}}},
		"to be sent again": {`{"cells":["a",0,"","2026-01-02T03:04:05Z"]` + strings.Replace(metadata, `"uid"`,
			`"labels":{"webhookdelivery.dev/redeliver":"true"},"uid"`, 1), []finished{}},
		"to be off": {`{"cells":["a",0,"","2026-01-02T03:04:05Z"]` + strings.Replace(metadata, `"uid"`, `"deletionTimestamp":"2026-01-02T03:04:05Z","uid"`, 1), []finished{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsePage([]byte(tableOf + test.rows + "]}"))
			if err != nil {
				t.Fatal(err)
			}
			want := page{rows: test.want, next: "more"}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(page{}, finished{}, object{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePageRefuses(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"no JSON":           {"<html>", "decoding a table"},
		"a list":            {`{"kind":"WebhookDeliveryList","items":[]}`, "a WebhookDeliveryList instead of a Table"},
		"missing cells":     {tableOf + `{"cells":["a",0]` + metadata + "]}", "tasks/a has 2 cells"},
		"a relative time":   {tableOf + `{"cells":["a",0,"","5m"]` + metadata + "]}", "the columns Completed and TTL of tasks/a"},
		"a TTL with a unit": {tableOf + `{"cells":["a","1h","",null]` + metadata + "]}", "the columns Completed and TTL of tasks/a"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parsePage([]byte(test.body)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	for _, missing := range []string{"TTL", "Completed"} {
		body := strings.Replace(tableOf+"]}", `"`+missing+`"`, `"Another"`, 1)
		if _, err := parsePage([]byte(body)); !errors.Is(err, errColumns) {
			t.Errorf("without %s: got %v, want %v", missing, err, errColumns)
		}
	}
}
