// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
	"log/slog"
)

// Task is what a webhook brings.
type Task struct {
	// ID is the payload's task_id, empty if it has none. Two deliveries with one ID tell of the same task.
	ID string
	// WebhookID is the webhook-id header, which is the same on all attempts of one delivery.
	WebhookID string
	// Payload is the body as it was received.
	Payload []byte
}

func newTask(webhookID string, body []byte) Task {
	var payload struct {
		TaskID string `json:"task_id"`
	}
	if err := json.Unmarshal(body, &payload); err != nil {
		payload.TaskID = "" // not JSON, or not a string: the body is kept as it is and the webhook-id is the key
	}
	return Task{ID: payload.TaskID, WebhookID: webhookID, Payload: body}
}

// Key is what duplicates have in common: the task's ID, or the webhook-id of a payload that has none.
func (t Task) Key() string {
	if t.ID != "" {
		return t.ID
	}
	return t.WebhookID
}

// inbox takes tasks at once and has them worked on later, one after the other, each once. Here it is a queue in memory,
// and its work is lost with the process; where it must not be, write the task to a database before answering 200, with
// a unique index on the key, so that the second INSERT of a task fails.
type inbox struct {
	queue chan job
	stop  chan struct{}
	done  chan struct{}
	work  func(Task)
	log   *slog.Logger
}

type job struct {
	task  Task
	visit *visit
}

func newInbox(size int, work func(Task), log *slog.Logger) *inbox {
	b := &inbox{
		queue: make(chan job, size), stop: make(chan struct{}), done: make(chan struct{}),
		work: work, log: log,
	}
	go b.run()
	return b
}

// put reports whether there was room. If there is none, the sender must hear of it and come back.
func (b *inbox) put(j job) bool {
	select {
	case b.queue <- j:
		return true
	default:
		return false
	}
}

// close works on what has been put and returns. Nothing may be put any more.
func (b *inbox) close() {
	close(b.stop)
	<-b.done
}

func (b *inbox) run() {
	defer close(b.done)
	for {
		select {
		case j := <-b.queue:
			b.handle(j)
		case <-b.stop:
			for len(b.queue) > 0 {
				b.handle(<-b.queue)
			}
			return
		}
	}
}

// handle drops the second of two equal tasks: webhooks are delivered at least once, so duplicates are normal.
func (b *inbox) handle(j job) {
	if !j.visit.claim(j.task.Key()) {
		b.log.Info("dropped a duplicate", "task_id", j.task.ID, "webhook_id", j.task.WebhookID)
		return
	}
	if b.work != nil {
		b.work(j.task)
	}
	j.visit.processed()
	b.log.Info("worked on a task", "task_id", j.task.ID, "webhook_id", j.task.WebhookID)
}
