// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"
)

const (
	// maxClients bounds the memory that addresses take. Who has more addresses has more buckets anyway.
	maxClients = 4096
	clientTTL  = time.Hour
)

// clients gives each client a token bucket.
type clients struct {
	limit   rate.Limit
	burst   int
	buckets *cache.LRUExpireCache
}

func newClients(perSecond float64) *clients {
	return &clients{
		limit: rate.Limit(perSecond), burst: max(1, int(perSecond)),
		buckets: cache.NewLRUExpireCache(maxClients),
	}
}

// allow takes a token from the bucket of the client behind a connection's remote address, if there is one left.
func (c *clients) allow(remote string) bool {
	return c.bucket(clientOf(remote)).Allow()
}

// bucket returns the client's bucket. Two first requests at once may each get a full one; the later stays.
func (c *clients) bucket(of netip.Prefix) *rate.Limiter {
	if known, ok := c.buckets.Get(of); ok {
		return known.(*rate.Limiter)
	}
	bucket := rate.NewLimiter(c.limit, c.burst)
	c.buckets.Add(of, bucket, clientTTL)
	return bucket
}

// pause is how long an empty bucket takes to have a token again.
func (c *clients) pause() time.Duration {
	return time.Duration(float64(time.Second) / float64(c.limit))
}

// clientOf returns the network that one client has to itself: an IPv4 address, or an IPv6 /64. All that is no address
// is one client.
func clientOf(remote string) netip.Prefix {
	port, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	address := port.Addr().Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(address, bits).Masked()
}
