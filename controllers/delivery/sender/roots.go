// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rootsInterval is how old the knowledge of the bundle's content may be when it is used.
	rootsInterval = 5 * time.Second
	maxBundle     = 4 << 20
)

// roots are the authorities to trust. Where a bundle is configured, its content is compared on use, at most once in
// rootsInterval, rather than watched: that sees every way in which a file can change (written in place, renamed over, a
// symbolic link above it swapped, as kubelet does), costs one read of a small file, and needs no goroutine.
type roots struct {
	file    string
	onError func(error)
	pool    atomic.Pointer[x509.CertPool] // nil: the system's

	mu      sync.Mutex // guards what follows
	checked time.Time
	seen    string // what the last check found, a digest or an error
}

// newRoots reads the bundle for the first time. A file of "" is the system's authorities alone.
func newRoots(file string, onError func(error)) (*roots, error) {
	r := &roots{file: file, onError: onError, checked: time.Now()}
	if file == "" {
		return r, nil
	}
	return r, r.reload()
}

// current returns the authorities, the same pointer until they change. It never waits for another reader of the file.
func (r *roots) current() *x509.CertPool {
	if r.file != "" && r.mu.TryLock() {
		defer r.mu.Unlock()
		if now := time.Now(); now.Sub(r.checked) >= rootsInterval {
			r.checked = now
			if err := r.reload(); err != nil {
				r.onError(err)
			}
		}
	}
	return r.pool.Load()
}

// reload returns an error when it first meets it.
func (r *roots) reload() error {
	data, err := readBundle(r.file)
	found := fmt.Sprint(sha256.Sum256(data), err)
	if found == r.seen {
		return nil
	}
	r.seen = found
	if err != nil {
		return fmt.Errorf("CA bundle: %w", err)
	}
	certificates, err := parseCertificates(data)
	if err != nil {
		return fmt.Errorf("CA bundle %s: %w; write PEM certificates only", r.file, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return fmt.Errorf("reading the system's certificates: %w", err)
	}
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	r.pool.Store(pool)
	return nil
}

func readBundle(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, maxBundle+1))
	if err == nil && len(data) > maxBundle {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxBundle)
	}
	return data, err
}
