// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package retention deletes finished WebhookDeliveries when their time is over: spec.ttlSecondsAfterFinished after
// status.completionTime, or a default by outcome.
//
// A sweep lists the finished objects in pages, as tables of completion times without payloads, and remembers only
// those that are due before the next one. So nothing is kept in memory for finished objects, a change of an object's
// time is respected, and after a restart nothing is missing. An object is never deleted early, and at most one sweep
// late unless more are due than may be deleted in that time.
package retention

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// maxRemembered bounds what is remembered between two sweeps, whatever the options: about 20 MiB.
const maxRemembered = 100_000

// Options say what to delete, and how fast.
type Options struct {
	// Interval is the time from the end of a sweep to the beginning of the next.
	Interval time.Duration
	// Delivered and Undeliverable are how long an object of that outcome is kept that has no
	// spec.ttlSecondsAfterFinished. Nil: for ever. 0: until a sweep sees it.
	Delivered, Undeliverable *time.Duration
	// PageSize is how many objects are listed by one request.
	PageSize int64
	// DeletesPerSecond bounds the deletes, DeletesAtOnce how many of them are under way.
	DeletesPerSecond float64
	DeletesAtOnce    int
	// Namespaces are the ones to sweep; none: all of them, by one list.
	Namespaces []string
}

// DefaultOptions keep what was delivered for a day and what could not be delivered for a week.
func DefaultOptions() Options {
	day, week := 24*time.Hour, 7*24*time.Hour
	return Options{
		Interval: time.Minute, Delivered: &day, Undeliverable: &week,
		PageSize: 500, DeletesPerSecond: 200, DeletesAtOnce: 16,
	}
}

// Validate returns an error if the options cannot be worked with.
func (o Options) Validate() error {
	switch {
	case o.Interval <= 0:
		return errors.New("the interval of retention must be positive")
	case o.PageSize < 1:
		return errors.New("the page size of retention must be at least 1")
	case o.DeletesPerSecond <= 0 || math.IsNaN(o.DeletesPerSecond):
		return errors.New("retention must be allowed a positive number of deletes per second")
	case o.DeletesAtOnce < 1:
		return errors.New("retention must be allowed at least one delete at a time")
	case o.Delivered != nil && *o.Delivered < 0 || o.Undeliverable != nil && *o.Undeliverable < 0:
		return errors.New("the time that finished deliveries are kept must not be negative")
	}
	return nil
}

// Sweeper deletes finished objects. It is a manager.Runnable that runs on the leader.
type Sweeper struct {
	options Options
	lister  lister
	deleter deleter
	limiter *rate.Limiter
	log     logr.Logger
}

// New returns a Sweeper of the API server of config. It needs the verbs list and delete on webhookdeliveries.
func New(config *rest.Config, options Options) (*Sweeper, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	a, err := newAPI(config, options.PageSize)
	if err != nil {
		return nil, err
	}
	return newSweeper(a, a, options, ctrl.Log.WithName("retention")), nil
}

func newSweeper(l lister, d deleter, options Options, log logr.Logger) *Sweeper {
	limiter := rate.NewLimiter(rate.Limit(options.DeletesPerSecond), 1)
	return &Sweeper{options: options, lister: l, deleter: d, limiter: limiter, log: log}
}

// NeedLeaderElection says that one replica sweeps.
func (*Sweeper) NeedLeaderElection() bool { return true }

// Start sweeps until ctx ends. Errors of the API server are logged, once a sweep, and what they left over is tried
// again at the next.
func (s *Sweeper) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		began := time.Now()
		found, err := s.sweep(ctx)
		if ctx.Err() != nil {
			break
		}
		sweepSeconds.Observe(time.Since(began).Seconds())
		if err != nil {
			errorsTotal.WithLabelValues(operationList).Inc()
			s.log.Error(err, "finished deliveries could not all be listed")
		} else {
			overdueSeconds.Set(overdue(found, began).Seconds())
		}
		s.deleteWhenDue(ctx, found)
	}
	return nil
}

// sweep returns the objects that are due before the next sweep sees them, the earliest first. With an error, it returns
// those that it has found so far.
func (s *Sweeper) sweep(ctx context.Context) ([]due, error) {
	found := &earliest{limit: s.capacity()}
	namespaces := s.options.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	var errs []error
	for _, namespace := range namespaces {
		for phase, byDefault := range map[v1alpha1.Phase]*time.Duration{
			v1alpha1.PhaseDelivered:     s.options.Delivered,
			v1alpha1.PhaseUndeliverable: s.options.Undeliverable,
		} {
			err := s.collect(ctx, namespace, phase, byDefault, found)
			if errors.Is(err, errColumns) {
				return nil, err
			}
			errs = append(errs, err)
		}
	}
	return found.sorted(), errors.Join(errs...)
}

// capacity is how many objects are worth remembering: as many as may be deleted before the next sweep.
func (s *Sweeper) capacity() int {
	return int(min(maxRemembered, math.Ceil(s.options.DeletesPerSecond*s.options.Interval.Seconds())+1))
}

// collect adds to found the objects of one phase that will be due before they are listed again.
func (s *Sweeper) collect(
	ctx context.Context, namespace string, phase v1alpha1.Phase, byDefault *time.Duration, found *earliest,
) error {
	token, expired := "", false
	for {
		p, err := s.lister.list(ctx, namespace, phase, token)
		if err != nil {
			next, ok := nextAfterExpiry(err)
			if !ok || expired {
				return fmt.Errorf("listing %s deliveries: %w", phase, err)
			}
			token, expired = next, true
			continue
		}
		expired = false
		horizon := time.Now().Add(s.options.Interval)
		for _, f := range p.rows {
			if at, ok := dueAt(f.completion, f.ttl, byDefault); ok && !at.After(horizon) {
				found.add(due{f.object, phase, at})
			}
		}
		if p.next == "" {
			return nil
		}
		token = p.next
	}
}

// overdue is how long the object that was due first has been due; 0 if none is.
func overdue(found []due, now time.Time) time.Duration {
	if len(found) == 0 {
		return 0
	}
	return max(0, now.Sub(found[0].at))
}

// deleteWhenDue deletes each object when its time has come, and returns when the next sweep is to begin.
func (s *Sweeper) deleteWhenDue(ctx context.Context, found []due) {
	window, cancel := context.WithTimeout(ctx, s.options.Interval)
	defer cancel()
	var failures failures
	var deletes errgroup.Group
	deletes.SetLimit(s.options.DeletesAtOnce)
	for _, d := range found {
		if sleepUntil(window, d.at) != nil || s.limiter.Wait(window) != nil {
			break
		}
		deletes.Go(func() error {
			// A request that has begun may outlast the window.
			if err := s.delete(ctx, d); err != nil {
				failures.add(d.object, err)
			}
			return nil
		})
	}
	_ = deletes.Wait()
	failures.log(s.log)
	<-window.Done()
}

// delete deletes one object, and returns what is worth telling.
func (s *Sweeper) delete(ctx context.Context, d due) error {
	err := s.deleter.delete(ctx, d.object)
	switch {
	case err == nil:
		deletedTotal.WithLabelValues(string(d.phase)).Inc()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// Gone, or no longer what it was: the next sweep sees what it has become.
	case ctx.Err() == nil:
		errorsTotal.WithLabelValues(operationDelete).Inc()
		return err
	}
	return nil
}

// sleepUntil returns at t, or with an error if ctx ends first.
func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failures are the deletes of one sweep that failed, of which the first is worth telling.
type failures struct {
	sync.Mutex

	count int
	first object
	err   error
}

func (f *failures) add(o object, err error) {
	f.Lock()
	defer f.Unlock()
	if f.count++; f.count == 1 {
		f.first, f.err = o, err
	}
}

func (f *failures) log(log logr.Logger) {
	if f.count > 0 {
		log.Error(f.err, "finished deliveries could not be deleted", "count", f.count,
			"namespace", f.first.Namespace, "name", f.first.Name)
	}
}
