// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	webhooks "github.com/webhookdelivery/operator/hack/receiver"
)

// material is the content of a Secret with a certificate of a and its key.
func material(t *testing.T, a *authority, name string) map[string][]byte {
	t.Helper()
	certificate, key, err := a.issue(name)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
}

func authorities(pem []byte) map[string][]byte {
	return map[string][]byte{corev1.ServiceAccountRootCAKey: pem}
}

func withClientCert(d *v1alpha1.WebhookDelivery, secret string) *v1alpha1.WebhookDelivery {
	d.Spec.TLS = &v1alpha1.TLSConfig{ClientCertSecretRef: &v1alpha1.SecretReference{Name: secret}}
	return d
}

func withCA(d *v1alpha1.WebhookDelivery, secret string) *v1alpha1.WebhookDelivery {
	d.Spec.TLS = &v1alpha1.TLSConfig{CASecretRef: &v1alpha1.SecretReference{Name: secret}}
	return d
}

// TestRotatedMaterial sees an attempt fail with the material of a Secret, changes the Secret, and sees the next attempt
// succeed with the new one.
func TestRotatedMaterial(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		delivery *v1alpha1.WebhookDelivery
		to       *receiver
		old, new map[string][]byte
		client   string // whom the receiver then knows the operator as
	}{
		"client certificate": {
			withClientCert(makeDelivery(patient, "rotated-client", strict.url("/ok")), "rotated-client"), strict,
			material(t, private, "nobody"), material(t, clients, "operator"), "operator",
		},
		"private authority": {
			withCA(makeDelivery(patient, "rotated-ca", stranger.url("/ok")), "rotated-ca"), stranger,
			authorities(public.PEM()), authorities(private.PEM()), "",
		},
		"private authority beside the old one": {
			withCA(makeDelivery(patient, "rotated-cas", stranger.url("/ok")), "rotated-cas"), stranger,
			authorities(clients.PEM()), authorities(slices.Concat(clients.PEM(), private.PEM())), "",
		},
		"private authority that does not vouch for a receiver of the operator's own": {
			withCA(makeDelivery(patient, "rotated-own", inbox.url("/ok")), "rotated-own"), inbox,
			authorities(private.PEM()), authorities(public.PEM()), "",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tc.delivery
			store(t, patient, d.Name, tc.old)
			create(t, d)
			d = waitFor(t, d, attempts(1))
			if saw := tc.to.requests(string(d.UID)); len(saw) != 0 {
				t.Errorf("the receiver saw %d requests over a connection that cannot be trusted", len(saw))
			}
			store(t, patient, d.Name, tc.new)
			d = waitFor(t, d, finished)
			want := []v1alpha1.Reason{v1alpha1.ReasonTLSError, ""}
			if diff := cmp.Diff(want, reasons(d)); diff != "" || !d.IsDelivered() {
				t.Errorf("attempts (-want +got):\n%s\n%+v", diff, d.Status.Attempts)
			}
			if saw := tc.to.requests(string(d.UID)); len(saw) != 1 || saw[0].client != tc.client {
				t.Errorf("the receiver saw %+v, want one request of client %q", saw, tc.client)
			}
		})
	}
}

func TestUntrustedReceiver(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]*receiver{"unknown-authority": stranger, "no-client-certificate": strict} {
		d := makeDelivery(loud, name, to.url("/ok"))
		create(t, d)
		d = waitFor(t, d, finished)
		want := []v1alpha1.Reason{v1alpha1.ReasonTLSError, v1alpha1.ReasonTLSError}
		if diff := cmp.Diff(want, reasons(d)); diff != "" || len(to.requests(string(d.UID))) != 0 {
			t.Errorf("%s: attempts (-want +got):\n%s\n%+v", name, diff, d.Status.Attempts)
		}
	}
}

// TestUnusableMaterial sees a delivery wait without an attempt until its Secret has what it takes.
func TestUnusableMaterial(t *testing.T) {
	t.Parallel()
	good, other := material(t, clients, "operator"), material(t, clients, "other")
	garbage := []byte("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n")
	client := func(certificate, key []byte) map[string][]byte {
		return map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	}
	certificate, key := good[corev1.TLSCertKey], good[corev1.TLSPrivateKeyKey]
	tests := map[string]struct {
		make   func(*v1alpha1.WebhookDelivery, string) *v1alpha1.WebhookDelivery
		to     *receiver
		data   map[string][]byte // nil: no Secret
		reason v1alpha1.Reason
		good   map[string][]byte
	}{
		"no-secret":      {withClientCert, strict, nil, v1alpha1.ReasonSecretNotFound, good},
		"no-key":         {withClientCert, strict, client(certificate, nil), v1alpha1.ReasonSecretKeyNotFound, good},
		"no-certificate": {withClientCert, strict, client(nil, key), v1alpha1.ReasonSecretKeyNotFound, good},
		"garbage-key":    {withClientCert, strict, client(certificate, garbage), v1alpha1.ReasonSecretInvalid, good},
		"other-key": {
			withClientCert, strict, client(certificate, other[corev1.TLSPrivateKeyKey]),
			v1alpha1.ReasonSecretInvalid, good,
		},
		"no-ca": {withCA, stranger, authorities(nil), v1alpha1.ReasonSecretKeyNotFound, authorities(private.PEM())},
		"garbage-ca": {
			withCA, stranger, authorities(slices.Concat(private.PEM(), []byte("-----BEGIN CERTIFICATE-----\ncut"))),
			v1alpha1.ReasonSecretInvalid, authorities(private.PEM()),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.data != nil {
				store(t, patient, name, tc.data)
			}
			d := tc.make(makeDelivery(patient, name, tc.to.url("/ok")), name)
			create(t, d)
			d = waitFor(t, d, because(tc.reason))
			if len(d.Status.Attempts) != 0 || len(tc.to.requests(string(d.UID))) != 0 {
				t.Errorf("an attempt was made: %+v", d.Status.Attempts)
			}
			store(t, patient, name, tc.good)
			d = waitFor(t, d, finished)
			if diff := cmp.Diff([]v1alpha1.Reason{""}, reasons(d)); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSecretRotation rotates a secret under receivers that know only the old value, only the new one, or both.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	const outdated, current = "the-outdated-value", "whsec_dGhlIGN1cnJlbnQgdmFsdWU="
	store(t, patient, "rotated", map[string][]byte{"webhook-secret": []byte(current), "previous": []byte(outdated)})
	tests := map[string]struct {
		previousKey string
		signedBy    []string
	}{
		"with the previous key":              {"previous", []string{current, outdated}},
		"without a previous key":             {"", []string{current}},
		"previous key that is there no more": {"removed", []string{current}},
	}
	for name, tc := range tests {
		d := makeDelivery(patient, "", inbox.url("/ok"))
		d.GenerateName = "secret-rotation-"
		d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "rotated", PreviousKey: tc.previousKey}
		create(t, d)
		d = waitFor(t, d, finished)
		saw := inbox.requests(string(d.UID))
		if len(saw) != 1 {
			t.Fatalf("%s: the receiver saw %d requests", name, len(saw))
		}
		if diff := cmp.Diff([]string{current}, saw[0].header.Values(webhooks.SecretHeader)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, webhooks.SecretHeader, diff)
		}
		for _, key := range []string{current, outdated} {
			verifier, err := webhooks.NewVerifier(key)
			if err != nil {
				t.Fatal(err)
			}
			err = verifier.VerifySignature(saw[0].header, saw[0].body)
			if want := slices.Contains(tc.signedBy, key); (err == nil) != want {
				t.Errorf("%s: verified by %q: %v, want %t", name, key, err, want)
			}
		}
	}
}
