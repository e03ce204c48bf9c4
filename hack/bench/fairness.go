// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// hosts is how many hanging endpoints there are where there are many.
const hosts = 100

// neighbours are what else there is to deliver beside deliveries to a healthy endpoint.
type neighbours struct {
	name string
	// urls are where to, in turns.
	urls []string
	// apart puts them into a namespace of their own.
	apart bool
	// once measures them in the first round only: they may take as long as receivers can hang.
	once bool
}

// fairness measures how long deliveries to a healthy endpoint take from the first creation to the last arrival, beside
// as many others, created in turns with them.
func fairness(ctx context.Context, s settings) (f figures, err error) {
	count, seconds := s.count(1000), map[string][]time.Duration{}
	var names []string
	err = within(ctx, s, false, func(ctx context.Context, c *cluster) (err error) {
		other, all, err := c.neighbourhoods(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, other.Close()) }()
		for round := range s.fewerRounds() {
			for _, beside := range all {
				if beside.once && round > 0 {
					continue
				}
				took, err := c.besides(ctx, count, beside)
				if err != nil {
					return err
				}
				c.settings.progress("round %d, %s: %.1f s", round+1, beside.name, took.Seconds())
				seconds[beside.name] = append(seconds[beside.name], took)
			}
		}
		for _, beside := range all {
			names = append(names, beside.name)
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	for _, name := range names {
		f.add("beside_"+name+"_seconds", medianOf(seconds[name], time.Duration.Seconds))
	}
	f.add("ratio", medianRatio(seconds["hanging"], seconds["healthy"], time.Duration.Seconds))
	for _, name := range names[2:] {
		f.add(name+"_ratio", medianRatio(seconds[name], seconds["healthy"], time.Duration.Seconds))
	}
	return f, nil
}

// neighbourhoods starts another receiver, which listens at many ports: to the operator an endpoint is a scheme, a host
// and a port. The caller closes it.
func (c *cluster) neighbourhoods(ctx context.Context) (*receiver.Server, []neighbours, error) {
	other, err := c.receiver()
	if err != nil {
		return nil, nil, err
	}
	var hanging []string
	for range hosts {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, errors.Join(err, other.Close())
		}
		go func() {
			if err := other.Serve(listener); err != nil {
				c.fail(err)
			}
		}()
		endpoint := url.URL{Scheme: "https", Host: listener.Addr().String(), Path: "/hang"}
		hanging = append(hanging, endpoint.String())
		c.ports = append(c.ports, endpoint.Port())
	}
	return other, []neighbours{
		{name: "healthy", urls: []string{other.URL() + "/ok"}},
		{name: "hanging", urls: []string{other.URL() + "/hang"}},
		{name: "hundred_hanging_hosts", urls: hanging, once: true},
		{name: "hundred_hanging_hosts_of_another_namespace", urls: hanging, once: true, apart: true},
	}, nil
}

// besides returns how long count deliveries to the healthy endpoint take beside count others.
func (c *cluster) besides(ctx context.Context, count int, beside neighbours) (time.Duration, error) {
	if _, err := c.startManager(ctx); err != nil {
		return 0, err
	}
	ours, err := c.namespace(ctx)
	if err != nil {
		return 0, err
	}
	theirs := ours
	if beside.apart {
		if theirs, err = c.namespace(ctx); err != nil {
			return 0, err
		}
	}
	healthy, err := newTemplate(c.inbox.URL()+"/ok", defaultPayload, v1alpha1.WebhookDeliveryStatus{})
	if err != nil {
		return 0, err
	}
	others := make([]template, len(beside.urls))
	for i, to := range beside.urls {
		if others[i], err = newTemplate(to, defaultPayload, v1alpha1.WebhookDeliveryStatus{}); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	if _, err = flatOut(ctx, c.settings.clients, 2*count, func(ctx context.Context, i int) error {
		t, namespace := healthy, ours
		if i%2 == 1 {
			t, namespace = others[i/2%len(others)], theirs
		}
		_, err := c.api.create(ctx, collection(namespace), t.object(i))
		return err
	}); err != nil {
		return 0, err
	}
	if err := c.received(ctx, count); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, c.sweep(ctx, ours, theirs)
}

// sweep ends the manager, which may be waiting for receivers, and deletes what it has not delivered.
func (c *cluster) sweep(ctx context.Context, namespaces ...string) error {
	if err := c.killManager(); err != nil {
		return err
	}
	if err := c.dropLease(ctx); err != nil {
		return err
	}
	query := url.Values{"fieldSelector": {"status.phase!=Delivered"}}.Encode()
	for _, namespace := range namespaces {
		names, err := c.api.names(ctx, collection(namespace)+"?"+query)
		if err != nil {
			return err
		}
		if _, err := flatOut(ctx, c.settings.clients, len(names), func(ctx context.Context, i int) error {
			_, err := c.api.do(ctx, http.MethodDelete, collection(namespace)+"/"+names[i], "", nil)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
