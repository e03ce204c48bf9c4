// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"sync"
	"time"
)

// overdue watches tasks whose webhook is due. A webhook can be missed: the sender gives up after its last retry. So
// whoever starts a task remembers it, and asks for its result when the webhook has not come in time.
type overdue struct {
	suspect func(taskID string)

	mu    sync.Mutex
	tasks map[string]*expectation // nil once closed
}

type expectation struct {
	timer *time.Timer
}

func newOverdue(suspect func(taskID string)) *overdue {
	return &overdue{suspect: suspect, tasks: map[string]*expectation{}}
}

// expect has suspect called after the time, unless the task is expected already.
func (o *overdue) expect(taskID string, within time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.tasks[taskID]; known || o.tasks == nil || taskID == "" {
		return
	}
	e := &expectation{}
	e.timer = time.AfterFunc(within, func() {
		if o.take(taskID, e) {
			o.suspect(taskID)
		}
	})
	o.tasks[taskID] = e
}

// take removes the expectation and reports whether it still stood.
func (o *overdue) take(taskID string, e *expectation) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tasks[taskID] != e {
		return false
	}
	delete(o.tasks, taskID)
	return true
}

// reset forgets all tasks.
func (o *overdue) reset() {
	o.replace(map[string]*expectation{})
}

// close forgets all tasks and takes no more.
func (o *overdue) close() {
	o.replace(nil)
}

func (o *overdue) replace(tasks map[string]*expectation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.tasks {
		e.timer.Stop()
	}
	o.tasks = tasks
}
