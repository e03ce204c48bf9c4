// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// SecretHeader carries the webhook's secret as it is. It proves who sends, but nothing about the body: that is what
// the signature is for.
const SecretHeader = "x-webhook-secret"

// Errors of VerifySecret. Those of VerifySignature are the Standard Webhooks library's.
var (
	ErrSecretMissing = errors.New("the " + SecretHeader + " header is missing")
	ErrSecretWrong   = errors.New("the " + SecretHeader + " header holds none of the accepted secrets")
)

// Verifier tells requests of a sender who knows one of the secrets from all others. It is safe for concurrent use.
//
// A webhook endpoint is open to the internet, so every request is a stranger's until this has returned nil:
//
//	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
//	…
//	if err := verifier.Verify(r.Header, body); err != nil {
//		w.WriteHeader(http.StatusUnauthorized) // and not a word about what was wrong
//		return
//	}
type Verifier struct {
	digests [][sha256.Size]byte
	keys    []*standardwebhooks.Webhook
}

// NewVerifier accepts requests that carry any of the secrets. To rotate a secret without refusing a single request,
// accept both, change the sender's, and drop the old one when no request with it can be under way any more.
// It is an error if there is no secret, an empty one, or one that starts with whsec_ and is not base64 after that.
func NewVerifier(secrets ...string) (*Verifier, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a verifier needs at least one secret")
	}
	v := &Verifier{}
	for i, secret := range secrets {
		if strings.TrimPrefix(secret, base64Prefix) == "" {
			return nil, fmt.Errorf("secret %d of %d is empty", i+1, len(secrets))
		}
		key, err := signingKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err)
		}
		v.digests = append(v.digests, sha256.Sum256([]byte(secret)))
		v.keys = append(v.keys, key)
	}
	return v, nil
}

// base64Prefix announces a key in base64, by the convention of Standard Webhooks.
const base64Prefix = "whsec_"

// signingKey decodes what stands after the prefix. A secret without it is an arbitrary string: its bytes are the key.
func signingKey(secret string) (*standardwebhooks.Webhook, error) {
	if strings.HasPrefix(secret, base64Prefix) {
		return standardwebhooks.NewWebhook(secret)
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}

// Verify returns nil if both the secret and the signature are right. The body must be the bytes as they were received:
// JSON that was parsed and marshalled again has another signature.
func (v *Verifier) Verify(header http.Header, body []byte) error {
	if err := v.VerifySecret(header); err != nil {
		return err
	}
	return v.VerifySignature(header, body)
}

// VerifySecret compares the header with the accepted secrets in constant time. With == the time of the answer would
// tell how many of the first bytes were right, and a secret can be guessed byte by byte. Digests have one length, so
// not even the length of the secret shows; and all of them are compared, so it does not show which one matched.
func (v *Verifier) VerifySecret(header http.Header) error {
	got := header.Get(SecretHeader)
	if got == "" {
		return ErrSecretMissing
	}
	digest := sha256.Sum256([]byte(got))
	match := 0
	for i := range v.digests {
		match |= subtle.ConstantTimeCompare(digest[:], v.digests[i][:])
	}
	if match == 0 {
		return ErrSecretWrong
	}
	return nil
}

// VerifySignature checks the Standard Webhooks headers with the project's own library: webhook-signature must be the
// HMAC-SHA256 of webhook-id, webhook-timestamp and body, and the timestamp at most five minutes away from now. So the
// body is the sender's, and whoever has seen the request cannot send it again under another id, nor as it was after
// five minutes. Within them it can be sent again: one more reason to drop duplicates.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
func (v *Verifier) VerifySignature(header http.Header, body []byte) error {
	var err error
	for _, key := range v.keys {
		if err = key.Verify(body, header); err == nil {
			return nil
		}
	}
	return err
}
