// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

const (
	// secretTTL bounds how long a changed Secret goes unnoticed by first attempts. Retries never use a value that was
	// read before the last attempt.
	secretTTL = 30 * time.Second
	// missingSecretTTL bounds how often the API server is asked for a Secret that many deliveries wait for.
	missingSecretTTL = time.Second
	// maxCachedSecrets and maxCachedSecret, in bytes, bound the memory that Secrets take. Larger ones are read for each
	// attempt: a Secret may have a mebibyte, and whoever creates deliveries chooses them.
	maxCachedSecrets = 1024
	maxCachedSecret  = 32 << 10
)

// secrets reads Secrets one by one: to list or watch them would take the right to read all of them.
type secrets struct {
	reader client.Reader
	cache  *cache.LRUExpireCache
	reads  singleflight.Group
}

// cachedSecret is what a read came to; data is nil when there is no such Secret, or it may not be read.
type cachedSecret struct {
	data   map[string][]byte
	readAt time.Time
	denied bool
}

func newSecrets(reader client.Reader) *secrets {
	return &secrets{reader: reader, cache: cache.NewLRUExpireCache(maxCachedSecrets)}
}

// unusableError says why a Secret cannot be used now. The delivery waits for it to change.
type unusableError struct {
	reason  v1alpha1.Reason
	message string
}

func (e *unusableError) Error() string { return e.message }

// credentials returns what the request of d needs from its Secrets, from reads that began after notBefore. The error is
// an *unusableError when a Secret or a key is missing, and an API error when the API server could not tell.
func (s *secrets) credentials(
	ctx context.Context, d *v1alpha1.WebhookDelivery, notBefore time.Time,
) (req sender.Request, err error) {
	if ref := d.Spec.SecretRef; ref != nil {
		data, err := s.get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: ref.Name}, notBefore)
		if err != nil {
			return req, err
		}
		if req.Secret, err = value(data, ref.Name, ref.Key); err != nil {
			return req, err
		}
		req.Previous = data[ref.PreviousKey]
	}
	if d.Spec.TLS != nil {
		req.TLS, err = s.tlsMaterial(ctx, d.Namespace, d.Spec.TLS, notBefore)
	}
	return req, err
}

func (s *secrets) tlsMaterial(
	ctx context.Context, namespace string, spec *v1alpha1.TLSConfig, notBefore time.Time,
) (*sender.TLS, error) {
	material := &sender.TLS{}
	if ref := spec.ClientCertSecretRef; ref != nil {
		data, err := s.get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, notBefore)
		if err != nil {
			return nil, err
		}
		if material.Certificate, err = value(data, ref.Name, corev1.TLSCertKey); err != nil {
			return nil, err
		}
		if material.Key, err = value(data, ref.Name, corev1.TLSPrivateKeyKey); err != nil {
			return nil, err
		}
	}
	if ref := spec.CASecretRef; ref != nil {
		data, err := s.get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, notBefore)
		if err != nil {
			return nil, err
		}
		if material.CA, err = value(data, ref.Name, corev1.ServiceAccountRootCAKey); err != nil {
			return nil, err
		}
	}
	return material, nil
}

func value(data map[string][]byte, name, key string) ([]byte, error) {
	v := data[key]
	if len(v) == 0 {
		return nil, &unusableError{v1alpha1.ReasonSecretKeyNotFound,
			fmt.Sprintf("Secret %q has no value under key %q: add it", name, key)}
	}
	return v, nil
}

// get returns the Secret's data, from a read that began after notBefore.
func (s *secrets) get(ctx context.Context, key types.NamespacedName, notBefore time.Time) (map[string][]byte, error) {
	read, err := s.cached(ctx, key, notBefore)
	switch {
	case err != nil:
		return nil, err
	case read.denied:
		return nil, &unusableError{v1alpha1.ReasonSecretNotFound,
			fmt.Sprintf("the operator may not read Secret %q: let its service account get it", key.Name)}
	case read.data == nil:
		return nil, &unusableError{v1alpha1.ReasonSecretNotFound, fmt.Sprintf("Secret %q not found: create it", key.Name)}
	}
	return read.data, nil
}

func (s *secrets) cached(ctx context.Context, key types.NamespacedName, notBefore time.Time) (cachedSecret, error) {
	if hit, ok := s.cache.Get(key); ok && hit.(cachedSecret).readAt.After(notBefore) {
		return hit.(cachedSecret), nil
	}
	read, err := s.shared(ctx, key)
	if err == nil && !read.readAt.After(notBefore) {
		// Others began that read before notBefore. The next one begins now, whatever the clocks say.
		read, err = s.shared(ctx, key)
	}
	return read, err
}

func (s *secrets) shared(ctx context.Context, key types.NamespacedName) (cachedSecret, error) {
	result, err, _ := s.reads.Do(key.String(), func() (any, error) { return s.read(ctx, key) })
	if err != nil {
		return cachedSecret{}, err
	}
	return result.(cachedSecret), nil
}

func (s *secrets) read(ctx context.Context, key types.NamespacedName) (cachedSecret, error) {
	read := cachedSecret{readAt: time.Now()}
	ttl := secretTTL
	var secret corev1.Secret
	err := s.reader.Get(ctx, key, &secret)
	switch {
	case err == nil:
		read.data = secret.Data
		if read.data == nil {
			read.data = map[string][]byte{}
		}
	case apierrors.IsNotFound(err) || apierrors.IsForbidden(err):
		read.denied = apierrors.IsForbidden(err)
		ttl = missingSecretTTL
	default:
		return read, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	if size(read.data) > maxCachedSecret {
		s.cache.Remove(key)
		return read, nil
	}
	s.cache.Add(key, read, ttl)
	return read, nil
}

func size(data map[string][]byte) (n int) {
	for key, value := range data {
		n += len(key) + len(value)
	}
	return n
}

// drop makes the next attempt of any delivery read d's Secrets again.
func (s *secrets) drop(d *v1alpha1.WebhookDelivery) {
	if ref := d.Spec.SecretRef; ref != nil {
		s.cache.Remove(types.NamespacedName{Namespace: d.Namespace, Name: ref.Name})
	}
}

// asUnusable returns the reason and message of an *unusableError in err.
func asUnusable(err error) (*unusableError, bool) {
	return errors.AsType[*unusableError](err)
}
