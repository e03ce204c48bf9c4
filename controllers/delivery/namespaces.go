// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// rightsInterval is between two looks at the rights in the listed namespaces.
	rightsInterval = time.Minute
	// rightsConfirmation is when a change is looked at again before anything follows: an API server that has just started
	// may refuse what it will allow.
	rightsConfirmation = 5 * time.Second
)

// Rights is a manager.Runnable of the leader that ends the process when the namespaces in which it may list deliveries
// are not those any more that it was started without: a cache would wait for a namespace that is gone before any other
// is served, and does not take in one that was left out.
type Rights struct {
	live                client.Reader
	namespaces, without []string
	wanted              func() bool
}

// NewRights returns a Rights for the listed namespaces, of which the process was started without some.
func NewRights(live client.Reader, namespaces, without []string) *Rights {
	leftOut.Set(float64(len(without)))
	return &Rights{live: live, namespaces: namespaces, without: without}
}

// SetupWithManager adds r to mgr. It lets the process go on while reconciler has outcomes that it lacks the right to
// write: they are written once that is back, and would be sent again by another process.
func (r *Rights) SetupWithManager(mgr ctrl.Manager, reconciler *Reconciler) error {
	r.wanted = func() bool { return reconciler.ledger.hopeless() > 0 }
	return mgr.Add(r)
}

// Start returns an error that tells what has changed, or nil when ctx ends.
func (r *Rights) Start(ctx context.Context) error {
	for pause, changes := time.Duration(0), 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = rightsInterval
		forbidden, err := CheckCRD(ctx, r.live, r.namespaces)
		switch {
		case err != nil:
			log.FromContext(ctx).V(1).Info("the rights in the listed namespaces are not known", "error", err)
		case slices.Equal(forbidden, r.without) || r.wanted():
			changes = 0
		default:
			if changes++; changes > 1 {
				return fmt.Errorf("deliveries may not be listed in the namespaces %q, but this process was started without %q: "+
					"it ends, to be started again", forbidden, r.without)
			}
			pause = rightsConfirmation
		}
	}
}
