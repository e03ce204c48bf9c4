// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Snapshot counts what the account holds at one moment.
type Snapshot struct {
	// Requests is the number of records. It is the sum of Open, Accepted, Refused and Unanswered.
	Requests int `json:"requests"`
	// Open is the number of requests whose answer is not decided.
	Open int `json:"open"`
	// Accepted and Refused are the numbers of those answered with 2xx and with anything else.
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
	// Unanswered is the number of those given up because the client left or the receiver was closed.
	Unanswered int `json:"unanswered"`

	// Deliveries is the number of distinct webhook-ids, AcceptedDeliveries of those accepted at least once.
	Deliveries         int `json:"deliveries"`
	AcceptedDeliveries int `json:"accepted_deliveries"`
	// Repeats is the number of requests whose webhook-id had been accepted before they arrived.
	Repeats int `json:"repeats"`

	// Processed is the number of tasks that were worked on, DuplicateTasks of those dropped because their task_id had
	// been worked on before.
	Processed      int `json:"processed"`
	DuplicateTasks int `json:"duplicate_tasks"`
	// Suspected is the number of times a webhook was suspected to be missed.
	Suspected int `json:"suspected"`
}

// account records every request. Requests that are under way at a reset stay in the book in which they began.
type account struct {
	start time.Time

	mu       sync.Mutex
	book     *book
	handlers int
	changed  chan struct{} // closed at the next change; nil while nobody waits
}

type book struct {
	totals     Snapshot
	records    []*Record
	deliveries map[string]*delivery
	claimed    map[string]struct{}
}

type delivery struct {
	records  []*Record
	accepted bool
}

func newAccount() *account {
	return &account{start: time.Now(), book: newBook()}
}

func newBook() *book {
	return &book{deliveries: map[string]*delivery{}, claimed: map[string]struct{}{}}
}

// notify wakes those who wait. The caller holds mu.
func (a *account) notify() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// wait returns when done has returned true. done runs without the lock.
func (a *account) wait(ctx context.Context, done func(Snapshot, int) bool) error {
	for {
		a.mu.Lock()
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		totals, handlers, changed := a.book.totals, a.handlers, a.changed
		a.mu.Unlock()
		if done(totals, handlers) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the receiver, whose account is %+v: %w", totals, context.Cause(ctx))
		}
	}
}

func (a *account) snapshot() Snapshot {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.book.totals
}

func (a *account) requests() []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return copies(a.book.records)
}

func (a *account) byID(id string) []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	d, ok := a.book.deliveries[id]
	if !ok {
		return nil
	}
	return copies(d.records)
}

func copies(records []*Record) []Record {
	out := make([]Record, len(records))
	for i, r := range records {
		out[i] = *r
	}
	return out
}

func (a *account) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book = newBook()
	a.notify()
}

// suspect counts a suspicion unless the task has been claimed, and reports whether it did.
func (a *account) suspect(taskID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.book.claimed[taskID]; ok {
		return false
	}
	a.book.totals.Suspected++
	a.notify()
	return true
}
