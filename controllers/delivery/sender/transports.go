// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"container/list"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"sync"
)

// maxTransports bounds the transports for TLS material, each of which holds connections and sessions of its own.
const maxTransports = 128

// transports hands out one transport for all requests without TLS material, and one for each material in use.
type transports struct {
	roots *roots
	build func(*x509.CertPool, *TLS) (*http.Transport, error)

	mu     sync.Mutex // guards what follows
	trust  *x509.CertPool
	shared *http.Transport
	byKey  map[transportKey]*list.Element
	recent *list.List // of *pooled, the most recently used first
}

// transportKey holds the authorities beside the material's digest, so that what was built while they changed is not
// found again.
type transportKey struct {
	trust  *x509.CertPool
	digest [sha256.Size]byte
}

type pooled struct {
	key       transportKey
	transport *http.Transport
}

// get returns the transport for the material, which may be nil. The error is about the material.
func (t *transports) get(material *TLS) (*http.Transport, error) {
	trust := t.roots.current()
	shared, err := t.refresh(trust)
	if err != nil || material.isEmpty() {
		return shared, err
	}
	key := transportKey{trust: trust, digest: material.digest()}
	if found := t.find(key); found != nil {
		return found, nil
	}
	built, err := t.build(trust, material) // outside the lock: parsing takes milliseconds
	if err != nil {
		return nil, err
	}
	return t.add(key, built), nil
}

// refresh returns the shared transport. Where the authorities have changed, it starts afresh with everything, so that
// no connection lives on that they may no longer vouch for.
func (t *transports) refresh(trust *x509.CertPool) (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared != nil && t.trust == trust {
		return t.shared, nil
	}
	shared, err := t.build(trust, nil)
	if err != nil {
		return nil, err
	}
	t.closeIdleLocked()
	t.trust, t.shared, t.byKey, t.recent = trust, shared, map[transportKey]*list.Element{}, list.New()
	return shared, nil
}

func (t *transports) find(key transportKey) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	element, ok := t.byKey[key]
	if !ok {
		return nil
	}
	t.recent.MoveToFront(element)
	return element.Value.(*pooled).transport
}

// add returns the transport to use: another Send may have added one for the same material meanwhile.
func (t *transports) add(key transportKey, built *http.Transport) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if element, ok := t.byKey[key]; ok {
		return element.Value.(*pooled).transport
	}
	t.byKey[key] = t.recent.PushFront(&pooled{key: key, transport: built})
	if t.recent.Len() > maxTransports {
		oldest := t.recent.Remove(t.recent.Back()).(*pooled)
		delete(t.byKey, oldest.key)
		oldest.transport.CloseIdleConnections()
	}
	return built
}

func (t *transports) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeIdleLocked()
}

func (t *transports) closeIdleLocked() {
	if t.shared == nil {
		return
	}
	t.shared.CloseIdleConnections()
	for element := t.recent.Front(); element != nil; element = element.Next() {
		element.Value.(*pooled).transport.CloseIdleConnections()
	}
}
