// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reinstall takes everything away that the documentation says can go while deliveries are kept, and brings it back.
func reinstall(ctx context.Context, s *stage) (t tally, note string, err error) {
	l := load{step: "reinstall", n: 40, path: "/fail-first/1"}
	if err := s.create(ctx, l); err != nil {
		return t, "", err
	}
	if err := s.reach(ctx, l, 9*time.Second, isRetrying); err != nil {
		return t, "", err
	}
	for _, part := range []string{"manager", "rbac", "policy", "flowcontrol"} {
		if err := s.do(ctx, "delete", "--ignore-not-found", "-k", "config/"+part); err != nil {
			return t, "", err
		}
	}
	gone := eventually(ctx, time.Minute, func(ctx context.Context) error {
		err := s.Get(ctx, client.ObjectKey{Name: system}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("the namespace is still there"), err)
	})
	if gone != nil {
		return t, "", gone
	}
	kept, err := s.stored(ctx, l.step)
	if err != nil || len(kept) != l.n {
		return t, "", errors.Join(err, fmt.Errorf("%d of %d deliveries kept", len(kept), l.n))
	}
	if _, note, err = install(ctx, s); err != nil {
		return t, note, err
	}
	t, err = s.settle(ctx, l, time.Minute)
	return t, fmt.Sprintf("%d kept; %s", len(kept), note), err
}

// uninstall deletes what was installed, as make undeploy does, then what played the world, and looks for what is left.
func uninstall(ctx context.Context, s *stage) (t tally, note string, err error) {
	uninstalled := s.do(ctx, "delete", "--ignore-not-found", "-f", s.manifests)
	cleared := s.do(ctx, "delete", "--ignore-not-found", "-f", "hack/e2e/stage")
	if err := errors.Join(uninstalled, cleared); err != nil {
		return t, "", err
	}
	var left inventory
	err = eventually(ctx, 30*time.Second, func(ctx context.Context) (err error) {
		if left, err = takeInventory(ctx, s.kinds, s.objects); err != nil {
			return err
		}
		if more := left.beyond(s.before); len(more) != 0 {
			return fmt.Errorf("left behind:\n%s", strings.Join(more, "\n"))
		}
		return nil
	})
	return t, fmt.Sprintf("%d objects before, %d beyond them now", len(s.before), len(left.beyond(s.before))), err
}
