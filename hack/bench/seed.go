// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// seed makes objects as an operator before this one has left them, in a namespace of their own, and returns how many
// came about in a second. body tells the i-th. No manager may run meanwhile.
func (c *cluster) seed(ctx context.Context, count int, body func(i int) []byte) (perSecond float64, err error) {
	if c.manager != nil {
		return 0, errors.New("objects cannot be seeded while a manager runs")
	}
	namespace, err := c.namespace(ctx)
	if err != nil {
		return 0, err
	}
	finished, err := c.finishedObject(ctx, namespace)
	if err != nil {
		return 0, err
	}
	var took time.Duration
	err = c.withStatus(ctx, finished, func() (err error) {
		took, err = flatOut(ctx, c.settings.clients, count, func(ctx context.Context, i int) error {
			_, err := c.api.create(ctx, collection(namespace), body(i))
			return err
		})
		return err
	})
	perSecond = ratio(float64(count), took.Seconds())
	c.settings.progress("seeded %d objects, %.0f/s", count, perSecond)
	return perSecond, err
}

// finishedObject makes a delivery that is finished already, and returns its path.
func (c *cluster) finishedObject(ctx context.Context, namespace string) (path string, err error) {
	t, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return "", err
	}
	status, err := json.Marshal(deliveredStatus())
	if err != nil {
		return "", err
	}
	resourceVersion, err := c.api.create(ctx, collection(namespace), t)
	if err != nil {
		return "", err
	}
	path = collection(namespace) + "/" + namePlace
	return path, c.api.writeStatus(ctx, path, resourceVersion, status)
}
