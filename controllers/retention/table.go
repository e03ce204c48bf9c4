// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// The columns of the CRD that tell when an object is due. They are found by name: users see them, too, and columns may
// be added between them.
const (
	completedColumn = "Completed"
	ttlColumn       = "TTL"
)

var errColumns = errors.New("the installed CRD is older than this operator and lacks the columns " +
	completedColumn + " and " + ttlColumn + ": apply the one that was released with it")

// finished is what a row tells of a finished object.
type finished struct {
	object

	completion time.Time
	ttl        *time.Duration // its own; nil if it has none
}

// object is the version of an object that was seen.
type object struct {
	types.NamespacedName

	uid             types.UID
	resourceVersion string
}

// page is a part of a list.
type page struct {
	rows []finished
	// next is the token to go on with; empty on the last page.
	next string
}

// table is what is used of a meta.k8s.io/v1 Table with includeObject=Metadata. That type itself would decode each
// object twice.
type table struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ListMeta   `json:"metadata"`
	ColumnDefinitions []struct {
		Name string `json:"name"`
	} `json:"columnDefinitions"`
	Rows []row `json:"rows"`
}

type row struct {
	Cells  []json.RawMessage `json:"cells"`
	Object struct {
		Metadata struct {
			Namespace         string            `json:"namespace"`
			Name              string            `json:"name"`
			UID               types.UID         `json:"uid"`
			ResourceVersion   string            `json:"resourceVersion"`
			DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
			Labels            map[string]string `json:"labels"`
		} `json:"metadata"`
	} `json:"object"`
}

// parsePage reads a Table in JSON. It leaves out objects that have no completion time, which nothing is ever due for,
// those that are being deleted, and those that someone has asked to deliver again. It fails where the columns are
// missing or hold something else.
func parsePage(body []byte) (page, error) {
	var t table
	if err := json.Unmarshal(body, &t); err != nil {
		return page{}, fmt.Errorf("decoding a table: %w", err)
	}
	if t.Kind != "Table" {
		return page{}, fmt.Errorf("the API server answered with a %s instead of a Table", t.Kind)
	}
	completed, ttl := t.column(completedColumn), t.column(ttlColumn)
	if completed < 0 || ttl < 0 {
		return page{}, errColumns
	}
	p := page{next: t.Continue, rows: make([]finished, 0, len(t.Rows))}
	for _, r := range t.Rows {
		f, ok, err := r.finished(completed, ttl)
		if err != nil {
			return page{}, err
		}
		if ok {
			p.rows = append(p.rows, f)
		}
	}
	return p, nil
}

// column returns the index of the column of that name; negative if there is none.
func (t *table) column(name string) int {
	for i, c := range t.ColumnDefinitions {
		if c.Name == name {
			return i
		}
	}
	return -1
}

// finished returns what the row tells, and whether the object can become due.
func (r row) finished(completed, ttl int) (finished, bool, error) {
	meta := r.Object.Metadata
	name := types.NamespacedName{Namespace: meta.Namespace, Name: meta.Name}
	if len(r.Cells) <= max(completed, ttl) {
		return finished{}, false, fmt.Errorf("the row of %s has %d cells only", name, len(r.Cells))
	}
	var completion *time.Time
	var seconds *int64
	err := errors.Join(json.Unmarshal(r.Cells[completed], &completion), json.Unmarshal(r.Cells[ttl], &seconds))
	if err != nil {
		return finished{}, false, fmt.Errorf("the columns %s and %s of %s: %w", completedColumn, ttlColumn, name, err)
	}
	if completion == nil || meta.DeletionTimestamp != nil || meta.Labels[v1alpha1.LabelRedeliver] == "true" {
		return finished{}, false, nil
	}
	f := finished{object: object{name, meta.UID, meta.ResourceVersion}, completion: *completion}
	if seconds != nil {
		own := time.Duration(*seconds) * time.Second
		f.ttl = &own
	}
	return f, true, nil
}
