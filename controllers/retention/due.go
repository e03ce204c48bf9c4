// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"fmt"
	"slices"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// never is how a flag says that nothing is deleted.
const never = "never"

// ParseTTL reads a flag: a Go duration that is not negative, or "never", which is nil. 0 deletes at once, as a Job's
// ttlSecondsAfterFinished does.
func ParseTTL(s string) (*time.Duration, error) {
	if s == never {
		return nil, nil
	}
	ttl, err := time.ParseDuration(s)
	if err != nil || ttl < 0 {
		return nil, fmt.Errorf("%q is neither a duration such as 24h nor %q", s, never)
	}
	return &ttl, nil
}

// FormatTTL is the flag that ParseTTL reads as ttl.
func FormatTTL(ttl *time.Duration) string {
	if ttl == nil {
		return never
	}
	return ttl.String()
}

// dueAt returns when an object that finished at completion may be deleted; false is never. The object's own ttl wins
// over the default for its outcome; nil is none.
func dueAt(completion time.Time, ttl, byDefault *time.Duration) (time.Time, bool) {
	if ttl == nil {
		ttl = byDefault
	}
	if ttl == nil {
		return time.Time{}, false
	}
	return completion.Add(*ttl), true
}

// due is an object and when it may be deleted.
type due struct {
	object

	phase v1alpha1.Phase
	at    time.Time
}

// earliest keeps those of a sequence that are due first, in memory that is bounded by limit.
type earliest struct {
	limit int
	items []due
}

// add takes d in. When there are twice as many as may stay, it drops the later half.
func (e *earliest) add(d due) {
	e.items = append(e.items, d)
	if len(e.items) >= 2*e.limit {
		e.items = e.sorted()
	}
}

// sorted returns those that are due first, in order.
func (e *earliest) sorted() []due {
	slices.SortFunc(e.items, func(a, b due) int { return a.at.Compare(b.at) })
	return e.items[:min(len(e.items), e.limit)]
}
