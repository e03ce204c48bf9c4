// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/hack/operator"
)

// startPrometheus starts bin/tools/prometheus, which scrapes the manager and evaluates the alerts that config ships.
func (d *demo) startPrometheus(ctx context.Context) (string, error) {
	config, err := d.prometheusConfig()
	if err != nil {
		return "", err
	}
	address, err := operator.FreeAddress(ctx)
	if err != nil {
		return "", err
	}
	process, err := operator.StartChild(filepath.Join(d.scratch, "prometheus.log"), d.fail,
		filepath.Join(d.root, "bin", "tools", "prometheus"), "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(d.scratch, "prometheus"), "--web.listen-address="+address)
	if err != nil {
		return "", err
	}
	d.cleanup = append(d.cleanup, process.Stop)
	d.prometheus = "http://" + address
	return d.prometheus, nil
}

// prometheusConfig writes Prometheus's configuration, and returns its path. Its target has the labels that the
// Prometheus operator gives it by config/prometheus/service_monitor.yaml.
func (d *demo) prometheusConfig() (string, error) {
	text, err := os.ReadFile(filepath.Join(d.root, "config", "prometheus", "alerts.yaml"))
	if err != nil {
		return "", err
	}
	var alerts struct {
		Spec map[string]any `json:"spec"` // a file of rules as Prometheus reads it
	}
	if err := yaml.Unmarshal(text, &alerts); err != nil {
		return "", err
	}
	target, err := url.Parse(d.manager.MetricsURL())
	if err != nil {
		return "", err
	}
	config := map[string]any{
		"global":     map[string]any{"scrape_interval": "5s", "evaluation_interval": "5s"},
		"rule_files": []string{"alerts.yaml"},
		"scrape_configs": []any{map[string]any{
			"job_name": "webhook-delivery-operator-metrics",
			"static_configs": []any{map[string]any{
				"targets": []string{target.Host},
				"labels":  map[string]string{"namespace": operator.Namespace},
			}},
		}},
	}
	for name, content := range map[string]any{"alerts.yaml": alerts.Spec, "prometheus.yaml": config} {
		text, err := yaml.Marshal(content)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(d.scratch, name), text, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(d.scratch, "prometheus.yaml"), nil
}
