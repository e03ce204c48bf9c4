// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/hack/operator"
)

// metric is what docs/metrics.md tells of one: its type, and the values of each label.
type metric struct {
	Type   string
	Labels map[string][]string
}

// anyValue stands for the values of a label that is not closed.
const anyValue = "any"

// TestMetricsAreDocumented compares docs/metrics.md with what the manager serves, in both directions.
func TestMetricsAreDocumented(t *testing.T) {
	eventually(t, "the manager leads", manager.Leads) // some metrics of the libraries come with the first work
	served := scraped(t)
	ours, others := documented(t)
	for name, m := range others {
		if m.Type != served[name].Type {
			t.Errorf("%s is documented as a %s, and served as %q", name, m.Type, served[name].Type)
		}
		for label, values := range m.Labels {
			if got, ok := served[name].Labels[label]; !ok || len(values) > 0 && !slices.Equal(values, got) {
				t.Errorf("%s: label %s is documented as %q, and served as %q", name, label, values, got)
			}
		}
	}
	for name := range served {
		if !strings.HasPrefix(name, "webhookdelivery_") {
			delete(served, name)
		}
	}
	if diff := cmp.Diff(ours, served); diff != "" {
		t.Errorf("metrics of the operator (-documented +served):\n%s", diff)
	}
}

// scraped are the metrics that the manager serves.
func scraped(t *testing.T) map[string]metric {
	t.Helper()
	code, body := get(t, http.DefaultClient, manager.MetricsURL(), "")
	if code != http.StatusOK {
		t.Fatalf("answered with %d", code)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]metric{}
	for name, family := range families {
		m := metric{strings.ToLower(family.GetType().String()), map[string][]string{}}
		for _, series := range family.GetMetric() {
			for _, label := range series.GetLabel() {
				value := label.GetValue()
				if label.GetName() == "version" {
					value = anyValue
				}
				m.Labels[label.GetName()] = append(m.Labels[label.GetName()], value)
			}
		}
		sortValues(m)
		metrics[name] = m
	}
	return metrics
}

func sortValues(m metric) {
	for label, values := range m.Labels {
		slices.Sort(values)
		m.Labels[label] = slices.Compact(values)
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// documented reads the tables of docs/metrics.md: those of five columns are of the operator's own metrics, those of
// three of the libraries', of which some labels are named in the text.
func documented(t *testing.T) (ours, others map[string]metric) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(operator.Root(), "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	ours, others = map[string]metric{}, map[string]metric{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.Trim(cells[0], " `")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		switch len(cells) {
		case 5:
			m := metric{strings.TrimSpace(cells[1]), map[string][]string{}}
			for label := range strings.SplitSeq(cells[2], ";") {
				key, values, _ := strings.Cut(label, ":")
				if key = strings.Trim(key, " `"); key == "none" {
					continue
				}
				if strings.TrimSpace(values) == anyValue {
					m.Labels[key] = []string{anyValue}
				}
				for _, value := range quoted.FindAllStringSubmatch(values, -1) {
					m.Labels[key] = append(m.Labels[key], value[1])
				}
			}
			sortValues(m)
			ours[name] = m
		case 3:
			m := metric{strings.TrimSpace(cells[1]), map[string][]string{}}
			for _, label := range quoted.FindAllStringSubmatch(cells[2], -1) {
				key, value, only := strings.Cut(label[1], "=")
				m.Labels[key] = nil
				if only {
					m.Labels[key] = []string{strings.Trim(value, `"`)}
				}
			}
			others[name] = m
		default:
			t.Errorf("a row of %d columns: %s", len(cells), line)
		}
	}
	return ours, others
}

// TestMetricsAreWellFormed is `promtool check metrics`, which runs this linter.
func TestMetricsAreWellFormed(t *testing.T) {
	_, body := get(t, http.DefaultClient, manager.MetricsURL(), "")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// TestMetricsNeedAToken asks a manager as it is installed, with the tokens of two service accounts. It is a standby, as
// the manager of the other tests leads.
func TestMetricsNeedAToken(t *testing.T) {
	t.Parallel()
	user, err := plane.User("system:serviceaccount:"+operator.Namespace+":webhook-delivery-operator",
		"system:serviceaccounts", "system:serviceaccounts:"+operator.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := plane.Kubeconfig(user)
	if err != nil {
		t.Fatal(err)
	}
	standby, err := operator.Start(t.Context(), operator.Options{
		Kubeconfig: kubeconfig, LogFile: filepath.Join(plane.Dir(), "standby.log"), Args: []string{"--metrics-secure"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := standby.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, stranger := tokenOf(t, "metrics-reader"), tokenOf(t, "stranger")
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "webhookdelivery-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "metrics-reader"}},
	})
	address := strings.TrimSuffix(strings.TrimPrefix(standby.MetricsURL(), "http://"), "/metrics")
	eventually(t, "the metrics are served", func(ctx context.Context) bool { // the certificate is made first
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err == nil && conn.Close() == nil
	})
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for name, tc := range map[string]struct {
		token string
		code  int
		says  string
	}{
		"no token":             {"", http.StatusUnauthorized, ""},
		"token without rights": {stranger, http.StatusForbidden, ""},
		"token of a reader":    {reader, http.StatusOK, `webhookdelivery_pending{state="due"} 0`},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := get(t, insecure, "https://"+address+"/metrics", tc.token)
			if code != tc.code || !strings.Contains(body, tc.says) {
				t.Errorf("answered with %d, want %d and %q:\n%.300s", code, tc.code, tc.says, body)
			}
			if code != http.StatusOK && strings.Contains(body, "webhookdelivery_") {
				t.Errorf("refused, and told all the same:\n%.300s", body)
			}
		})
	}
}

// eventually returns once condition holds.
func eventually(t *testing.T, what string, condition func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// tokenOf returns a token of a new service account.
func tokenOf(t *testing.T, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	create(t, account)
	request := &authenticationv1.TokenRequest{}
	err := cluster.SubResource("token").Create(t.Context(), account, request, &client.SubResourceCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}
