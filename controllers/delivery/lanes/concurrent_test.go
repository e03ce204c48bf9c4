// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// counter counts slots in use and remembers that a limit was exceeded.
type counter struct {
	limit    int64
	used     atomic.Int64
	exceeded atomic.Bool
}

func (c *counter) enter() {
	if c.used.Add(1) > c.limit {
		c.exceeded.Store(true)
	}
}

func (c *counter) leave() { c.used.Add(-1) }

// job is a key as a work queue treats it: one worker at a time.
type job struct {
	sync.Mutex
	left int // slots it has still to get
	rng  *rand.Rand
}

// factory is workers that take jobs from a queue, hold slots, and change their minds.
type factory struct {
	lanes      *Lanes[int]
	queue      chan int
	jobs       []*job
	todo       sync.WaitGroup
	total      counter
	endpoints  []counter
	namespaces []counter
}

func newFactory(t *testing.T, limits Limits, endpoints, namespaces, jobs, slots int) *factory {
	f := &factory{
		queue: make(chan int, 64*jobs*slots),
		total: counter{limit: int64(limits.Total)},
	}
	l, err := New(limits, func(key int) { f.queue <- key })
	if err != nil {
		t.Fatal(err)
	}
	f.lanes = l
	f.endpoints, f.namespaces = make([]counter, endpoints), make([]counter, namespaces)
	for i := range f.endpoints {
		f.endpoints[i].limit = int64(limits.PerEndpoint)
	}
	for i := range f.namespaces {
		f.namespaces[i].limit = int64(limits.PerNamespace)
	}
	for key := range jobs {
		f.jobs = append(f.jobs, &job{left: slots, rng: rand.New(rand.NewPCG(1, uint64(key)))})
		f.todo.Add(1)
		f.queue <- key
	}
	return f
}

func (f *factory) work() {
	for key := range f.queue {
		f.reconcile(key)
	}
}

func (f *factory) reconcile(key int) {
	j := f.jobs[key]
	j.Lock()
	defer j.Unlock()
	if j.left == 0 {
		f.lanes.Forget(key)
		return
	}
	endpoint, namespace := key%len(f.endpoints), key%len(f.namespaces)
	if j.rng.IntN(8) == 0 {
		endpoint = j.rng.IntN(len(f.endpoints))
	}
	place := Place{Endpoint: fmt.Sprint("e", endpoint), Namespace: fmt.Sprint("n", namespace)}
	release, ok := f.lanes.Acquire(key, place)
	if !ok {
		if j.rng.IntN(8) == 0 {
			f.lanes.Forget(key)
			f.queue <- key
		}
		return
	}
	used := []*counter{&f.total, &f.endpoints[endpoint], &f.namespaces[namespace]}
	for _, c := range used {
		c.enter()
	}
	runtime.Gosched()
	if n := f.lanes.Snapshot().InFlight; n < 1 || int64(n) > f.total.limit {
		f.total.exceeded.Store(true)
	}
	for _, c := range used {
		c.leave()
	}
	var twice sync.WaitGroup
	twice.Go(release)
	release()
	twice.Wait()
	if j.left--; j.left == 0 {
		f.todo.Done()
		return
	}
	f.queue <- key
}

// TestConcurrent runs in a bubble, which ends the test at once when a lost key leaves all its goroutines waiting. Its
// goroutines have all processors.
func TestConcurrent(t *testing.T) {
	for name, limits := range map[string]Limits{
		"total short":     {Total: 3, PerEndpoint: 3, PerNamespace: 3},
		"endpoint short":  {Total: 64, PerEndpoint: 1, PerNamespace: 64},
		"namespace short": {Total: 64, PerEndpoint: 64, PerNamespace: 1},
		"all short":       {Total: 6, PerEndpoint: 2, PerNamespace: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { //nolint:forbidigo // no timer fires here
				f := newFactory(t, limits, 7, 5, 300, 8)
				var workers sync.WaitGroup
				for range 32 {
					workers.Go(f.work)
				}
				f.todo.Wait()
				synctest.Wait() // for keys that were woken after they were done
				close(f.queue)
				workers.Wait()
				exceeded := f.total.exceeded.Load()
				for _, counters := range [][]counter{f.endpoints, f.namespaces} {
					for i := range counters {
						exceeded = exceeded || counters[i].exceeded.Load()
					}
				}
				if exceeded {
					t.Error("a bound was exceeded")
				}
				checkEmpty(t, f.lanes)
			})
		})
	}
}
