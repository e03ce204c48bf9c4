// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/sha256"
	"time"
)

// visit is one request on its way through the receiver, and the pen that writes its record.
type visit struct {
	account *account
	book    *book
	arrived time.Time
	record  *Record
}

// arrive opens a record. The caller must leave the visit.
func (a *account) arrive(path, webhookID string) *visit {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now() // under the lock, so that records are in order of time
	d, ok := a.book.deliveries[webhookID]
	if !ok {
		d = &delivery{}
		a.book.deliveries[webhookID] = d
		a.book.totals.Deliveries++
	}
	r := &Record{
		Arrived: now.UTC().Round(0), Elapsed: now.Sub(a.start),
		Path: path, WebhookID: webhookID, Attempt: len(d.records) + 1, Open: true,
	}
	d.records = append(d.records, r)
	a.book.records = append(a.book.records, r)
	a.book.totals.Requests++
	a.book.totals.Open++
	if d.accepted {
		a.book.totals.Repeats++
	}
	a.handlers++
	a.notify()
	return &visit{account: a, book: a.book, arrived: now, record: r}
}

// received notes what the body was, as far as it has come.
func (v *visit) received(body []byte) {
	digest := sha256.Sum256(body) // outside the lock
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.record.BodySHA256, v.record.BodyBytes = digest, len(body)
}

// verified notes what came out of the checks, and which task the body names.
func (v *visit) verified(taskID string, secret, signature Check) {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	if first := v.book.deliveries[v.record.WebhookID].records[0]; first.TaskID == taskID {
		taskID = first.TaskID // one string in memory for all attempts
	}
	v.record.TaskID, v.record.Secret, v.record.Signature = taskID, secret, signature
}

// answered closes the record. It is called before the answer is written, so that whoever has read the answer finds it
// in the account.
func (v *visit) answered(status int) {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.close()
	v.record.Status = status
	if !accepted(status) {
		v.book.totals.Refused++
		return
	}
	v.book.totals.Accepted++
	if d := v.book.deliveries[v.record.WebhookID]; !d.accepted {
		d.accepted = true
		v.book.totals.AcceptedDeliveries++
	}
}

// unanswered closes the record of a request that gets no answer.
func (v *visit) unanswered(clientGone bool) {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.close()
	v.record.ClientGone = clientGone
	v.book.totals.Unanswered++
}

func (v *visit) close() {
	v.record.Open = false
	v.record.Took = time.Since(v.arrived)
	v.book.totals.Open--
	v.account.notify()
}

// clientGone says of an answered request that its answer could not be written.
func (v *visit) clientGone() {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.record.ClientGone = true
	v.account.notify()
}

// leave ends the visit: nothing more is written to its connection.
func (v *visit) leave() {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.account.handlers--
	v.account.notify()
}

// claim reports whether the task with this key has not been claimed before. Without a key nothing is a duplicate.
func (v *visit) claim(key string) bool {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	_, known := v.book.claimed[key]
	if known && key != "" {
		v.book.totals.DuplicateTasks++
		v.account.notify()
		return false
	}
	v.book.claimed[key] = struct{}{}
	return true
}

// processed counts a task as worked on.
func (v *visit) processed() {
	v.account.mu.Lock()
	defer v.account.mu.Unlock()
	v.book.totals.Processed++
	v.account.notify()
}
