// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring checks the alerts, the dashboard and the runbooks with what Prometheus itself is made of. It has a
// module of its own for that, and is run by make verify.
package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

// rule is one alert of config/prometheus.
type rule struct {
	Alert string `json:"alert"`
	Expr  string `json:"expr"`
}

// spec is the PrometheusRule's, which is a file of rules as Prometheus reads it.
func spec(t *testing.T) (text []byte, rules []rule) {
	t.Helper()
	var object struct {
		Spec map[string]any `json:"spec"`
	}
	parse(t, filepath.Join(root, "config", "prometheus", "alerts.yaml"), &object)
	text, err := yaml.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Groups []struct {
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	for _, group := range parsed.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("no rules")
	}
	return text, rules
}

func parse(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestAlerts is promtool's verdict on the rules, and on what they do in testdata/alerts_test.yaml.
func TestAlerts(t *testing.T) {
	promtool, err := filepath.Abs(filepath.Join(root, "bin", "tools", "promtool"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rules, _ := spec(t)
	cases, err := os.ReadFile(filepath.Join("testdata", "alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"alerts.yaml": rules, "alerts_test.yaml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s %s (it is built by make bin/tools/promtool): %v\n%s", args[0], args[1], err, out)
		}
	}
}

// TestEveryAlertIsTestedBothWays counts the cases in which each alert fires, and does not.
func TestEveryAlertIsTestedBothWays(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert string `json:"alertname"`
				Fires []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	parse(t, filepath.Join("testdata", "alerts_test.yaml"), &file)
	fires, silent := map[string]int{}, map[string]int{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Fires) > 0 {
				fires[c.Alert]++
			} else {
				silent[c.Alert]++
			}
		}
	}
	_, rules := spec(t)
	for _, r := range rules {
		if fires[r.Alert] == 0 || silent[r.Alert] == 0 {
			t.Errorf("%s: fires in %d cases, and not in %d; want some of both", r.Alert, fires[r.Alert], silent[r.Alert])
		}
		delete(fires, r.Alert)
		delete(silent, r.Alert)
	}
	if len(fires)+len(silent) > 0 {
		t.Errorf("cases of alerts that do not exist: %v, %v", fires, silent)
	}
}
