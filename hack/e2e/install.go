// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/hack/receiver"
)

const (
	replicas  = 2
	fetchHost = "webhook-delivery-fetch." + system + ".svc"
)

// startReceiver starts the pods that play the world around the operator.
func startReceiver(ctx context.Context, s *stage) (t tally, note string, err error) {
	if err := s.apply(ctx, "stage/00-namespaces.yaml"); err != nil {
		return t, "", err
	}
	if err := s.do(ctx, "apply", "--server-side", "-n", namespace, "-f", "config/samples/00-secret.yaml"); err != nil {
		return t, "", err
	}
	if err := s.apply(ctx, "stage"); err != nil {
		return t, "", err
	}
	err = s.do(ctx, "wait", "-n", namespace, "--for=condition=Ready", "pod/receiver", "pod/visitor", "--timeout=60s")
	return t, "", err
}

// install does what the documentation asks for, in this order.
func install(ctx context.Context, s *stage) (t tally, note string, err error) {
	began := time.Now()
	if err := s.prepare(ctx); err != nil {
		return t, "", err
	}
	if err := s.do(ctx, "apply", "--server-side", "-f", s.manifests); err != nil {
		return t, "", err
	}
	if err := s.available(ctx); err != nil {
		return t, "", err
	}
	note = fmt.Sprintf("available after %.1f s", time.Since(began).Seconds())
	home := &corev1.Namespace{}
	if err := s.Get(ctx, client.ObjectKey{Name: system}, home); err != nil {
		return t, note, err
	}
	if level := home.Labels["pod-security.kubernetes.io/enforce"]; level != "restricted" {
		return t, note, fmt.Errorf("pod security of %s is %q", system, level)
	}
	return t, note, nil
}

// prepare makes what the overlay needs before its Deployment: the receiver's addresses and authority, and the
// certificate of /fetch.
func (s *stage) prepare(ctx context.Context) error {
	ca, err := s.receiver(ctx, "ca.pem")
	if err != nil {
		return err
	}
	cidrs, err := s.receiverCIDRs(ctx)
	if err != nil {
		return err
	}
	authority, certificate, key, err := certify(fetchHost)
	if err != nil {
		return err
	}
	s.fetchCA = authority
	if err := s.do(ctx, "apply", "--server-side", "-f", "config/manager/namespace.yaml"); err != nil {
		return err
	}
	return errors.Join(
		s.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "receiver"},
			Data:       map[string]string{"ca.crt": ca, "cidrs": cidrs},
		}),
		s.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "webhook-delivery-fetch-tls"},
			Type:       corev1.SecretTypeTLS,
			StringData: map[string]string{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
		}))
}

// receiverCIDRs are the receiver's Service addresses and nothing else, as --allow-cidrs takes them.
func (s *stage) receiverCIDRs(ctx context.Context) (string, error) {
	service := &corev1.Service{}
	if err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "receiver"}, service); err != nil {
		return "", err
	}
	var cidrs []string
	for _, ip := range service.Spec.ClusterIPs {
		address, err := netip.ParseAddr(ip)
		if err != nil {
			return "", err
		}
		cidrs = append(cidrs, netip.PrefixFrom(address, address.BitLen()).String())
	}
	return strings.Join(cidrs, ","), nil
}

// certify makes an authority, and a certificate for host with its key, all in PEM.
func certify(host string) (authority, certificate, key string, err error) {
	issuer, err := receiver.NewAuthority()
	if err != nil {
		return "", "", "", err
	}
	config, err := issuer.ServerConfig(host)
	if err != nil {
		return "", "", "", err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		return "", "", "", err
	}
	encode := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	certificate, key = encode("CERTIFICATE", config.Certificates[0].Certificate[0]), encode("PRIVATE KEY", raw)
	return string(issuer.PEM()), certificate, key, nil
}

// available waits until as many pods as there should be are ready, of the current revision, and no other is left.
func (s *stage) available(ctx context.Context) error {
	return eventually(ctx, 90*time.Second, func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		if err := s.Get(ctx, client.ObjectKey{Namespace: system, Name: operator}, d); err != nil {
			return err
		}
		pods, err := s.pods(ctx)
		if err != nil {
			return err
		}
		if st := d.Status; st.ObservedGeneration < d.Generation || st.UpdatedReplicas != replicas ||
			st.AvailableReplicas != replicas || len(pods) != replicas {
			return fmt.Errorf("%d pods, and the Deployment says %+v", len(pods), st)
		}
		return nil
	})
}

// pods are the operator's, ending ones too.
func (s *stage) pods(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := s.List(ctx, &pods, client.InNamespace(system),
		client.MatchingLabels{"app.kubernetes.io/name": operator, "app.kubernetes.io/component": "manager"})
	return pods.Items, err
}
