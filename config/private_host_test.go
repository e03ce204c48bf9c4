// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// warnings collects what the API server warns its client of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// take returns the warnings since the last call.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.texts = nil }()
	return w.texts
}

func TestPrivateHostsWarn(t *testing.T) {
	warned := &warnings{}
	cfg := plane.Config()
	cfg.WarningHandlerWithContext = warned
	c, err := newClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	object := delivery(tasks)
	object.Spec.URL = "https://localhost/"
	eventually(t, "policy private-host-warning", func(ctx context.Context) error {
		err := create(ctx, c, object)
		if err == nil && len(warned.take()) == 0 {
			return errors.New("no warning")
		}
		return err
	})
	const (
		policy = "Validation failed for ValidatingAdmissionPolicy 'private-host-warning.webhookdelivery.dev' with binding " +
			"'private-host-warning.webhookdelivery.dev': spec.url: "
		consequence = " is not a public host: unless the operator's --allow-cidrs permits its address, " +
			"this delivery ends Undeliverable, reason AddressDenied"
	)
	for url, want := range map[string]string{
		"https://localhost/":                            "'localhost'",
		"https://LocalHost:8443/":                       "'localhost'",
		"https://localhost./":                           "'localhost.'",
		"https://a.localhost/":                          "'a.localhost'",
		"https://receiver.tasks.svc/":                   "'receiver.tasks.svc'",
		"https://receiver.tasks.svc.cluster.local:443/": "'receiver.tasks.svc.cluster.local'",
		"https://metadata.google.internal/":             "'metadata.google.internal'",

		"https://0.0.0.0/":                  "'0.0.0.0'",
		"https://10.1.2.3:8443/":            "'10.1.2.3'",
		"https://100.64.0.1/":               "'100.64.0.1'",
		"https://127.0.0.1/":                "'127.0.0.1'",
		"https://169.254.169.254/":          "'169.254.169.254'",
		"https://172.31.255.255/":           "'172.31.255.255'",
		"https://192.168.0.1/":              "'192.168.0.1'",
		"https://224.0.0.1/":                "'224.0.0.1'",
		"https://255.255.255.255/":          "'255.255.255.255'",
		"https://[::]/":                     "'::'",
		"https://[::1]:8443/":               "'::1'",
		"https://[::ffff:10.0.0.1]/":        "'::ffff:10.0.0.1'",
		"https://[64:ff9b::a00:1]/":         "'64:ff9b::a00:1'",
		"https://[2001:db8::1]/":            "'2001:db8::1'",
		"https://[2002:a00:1::]/":           "'2002:a00:1::'",
		"https://[fd00::1]/":                "'fd00::1'",
		"https://[fe80::1]/":                "'fe80::1'",
		"https://[ff02::1]/":                "'ff02::1'",
		"https://receiver.example/":         "",
		"https://svc.receiver.example/":     "",
		"https://notlocalhost/":             "",
		"https://mysvc/":                    "",
		"https://x.internal.example/":       "",
		"https://9.9.9.9/":                  "",
		"https://172.32.0.1/":               "",
		"https://223.255.255.255/":          "",
		"https://[2606:4700::1111]:8443/":   "",
		"https://[2a00:1450:4001:81b::1]/":  "",
		"https://receiver.example/10.0.0.1": "",
	} {
		t.Run(url, func(t *testing.T) {
			object.Spec.URL = url
			if err := create(t.Context(), c, object); err != nil {
				t.Error(err)
			}
			var expected []string
			if want != "" {
				expected = []string{policy + want + consequence}
			}
			if diff := cmp.Diff(expected, warned.take()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
