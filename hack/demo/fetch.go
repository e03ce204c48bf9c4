// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/fetch"
	"github.com/webhookdelivery/operator/hack/operator"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// missed is the delivery that is given up: its receiver fetches the result, and it is delivered again.
const missed = "broken-receiver"

// endpoint is the manager's /fetch, as its clients see it.
type endpoint struct {
	address string
	client  *http.Client
}

// fetched is what /fetch answered.
type fetched struct {
	code  int
	phase string
	body  []byte
}

// certifyFetch makes the certificate of /fetch and returns the flags with which the manager serves it.
func (d *demo) certifyFetch(ctx context.Context) (flags []string, err error) {
	if d.fetch.address, err = operator.FreeAddress(ctx); err != nil {
		return nil, err
	}
	authority, err := receiver.NewAuthority()
	if err != nil {
		return nil, err
	}
	config, err := authority.ServerConfig("127.0.0.1")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		return nil, err
	}
	files := map[string]*pem.Block{
		"fetch.crt": {Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]},
		"fetch.key": {Type: "PRIVATE KEY", Bytes: key},
	}
	for name, block := range files {
		if err := os.WriteFile(filepath.Join(d.scratch, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	d.fetch.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Timeout:   10 * time.Second,
	}
	return []string{
		"--fetch-bind-address=" + d.fetch.address,
		"--fetch-cert-file=" + filepath.Join(d.scratch, "fetch.crt"),
		"--fetch-key-file=" + filepath.Join(d.scratch, "fetch.key"),
	}, nil
}

// fetchMissed asks for the result that was given up, with the receiver's secret and with another.
func (d *demo) fetchMissed(ctx context.Context) (_ string, err error) {
	if d.evidence.firstRound, err = d.deliveries(ctx); err != nil {
		return "", err
	}
	var given v1alpha1.WebhookDelivery
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: missed}, &given); err != nil {
		return "", err
	}
	ref := given.Spec.SecretRef
	var secret corev1.Secret
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret); err != nil {
		return "", err
	}
	value, task := string(secret.Data[ref.Key]), given.Spec.Payload.TaskID
	if d.evidence.fetched, err = d.ask(ctx, task, value); err != nil {
		return "", err
	}
	if d.evidence.refused, err = d.ask(ctx, task, "not-"+value); err != nil {
		return "", err
	}
	e := &d.evidence
	return fmt.Sprintf("%d, %s, %d bytes; %d with a wrong secret", e.fetched.code, e.fetched.phase, len(e.fetched.body),
		e.refused.code), nil
}

// ask is one request of /fetch, as a receiver makes it.
func (d *demo) ask(ctx context.Context, task, secret string) (fetched, error) {
	query := url.Values{"namespace": {namespace}, "task_id": {task}}
	to := url.URL{Scheme: "https", Host: d.fetch.address, Path: fetch.Path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), http.NoBody)
	if err != nil {
		return fetched{}, err
	}
	req.Header.Set(fetch.SecretHeader, secret)
	resp, err := d.fetch.client.Do(req)
	if err != nil {
		return fetched{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return fetched{code: resp.StatusCode, phase: resp.Header.Get(fetch.PhaseHeader), body: body}, err
}

// redeliver asks for the delivery that was given up to be made again.
func (d *demo) redeliver(ctx context.Context) (string, error) {
	d.evidence.labelled = time.Now()
	_, err := d.plane.Kubectl(ctx, "label", "webhookdelivery", missed, "--namespace", namespace,
		v1alpha1.LabelRedeliver+"=true")
	return v1alpha1.LabelRedeliver + "=true", err
}
