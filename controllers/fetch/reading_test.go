// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// bind grants the service account get on webhookdeliveries, all or the one called by the rule.
func bind(t *testing.T, namespace, account, rule string) {
	t.Helper()
	ctx, options := t.Context(), metav1.ApplyOptions{FieldManager: "test"}
	policy := applyrbacv1.PolicyRule().WithVerbs("get").WithAPIGroups("webhookdelivery.dev").
		WithResources("webhookdeliveries")
	if rule != "*" {
		policy.WithResourceNames(rule)
	}
	role := applyrbacv1.Role(account, namespace).WithRules(policy)
	_, err := clientset.RbacV1().Roles(namespace).Apply(ctx, role, options)
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset.RbacV1().RoleBindings(namespace).Apply(ctx, applyrbacv1.RoleBinding(account, namespace).
		WithRoleRef(applyrbacv1.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("Role").WithName(account)).
		WithSubjects(applyrbacv1.Subject().WithKind("ServiceAccount").WithName(account).WithNamespace(namespace)), options)
	if err != nil {
		t.Fatal(err)
	}
	who := "system:serviceaccount:" + namespace + ":" + account
	if err := untilAllowed(ctx, who, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get",
		Group: "webhookdelivery.dev", Resource: "webhookdeliveries", Name: strings.Trim(rule, "*")}); err != nil {
		t.Fatal(err)
	}
}

// TestPayloadIsAsDelivered compares the answer with what a watch, which is how the operator learns of it, shows.
func TestPayloadIsAsDelivered(t *testing.T) {
	s, ns := serveTLS(t, t.TempDir()), namespace(t)
	storeSecret(t, ns, "webhook", "right\n")
	const body = `{"task_id":"t", "z":1, "a":[1.5, -9223372036854775808, 9223372036854775807, 1e21, 1e-7, null, "", {}],
		"text":"Grüße, 世界 👋 <b>&\u2028\u0000", "B":{"y":true,"x":{"c":[[]]}}}`
	watch, err := admin.Watch(t.Context(), &v1alpha1.WebhookDeliveryList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	d := store(t, ns, "d", body, "webhook")
	seen := (<-watch.ResultChan()).Object.(*v1alpha1.WebhookDelivery)
	const want = `{"B":{"x":{"c":[[]]},"y":true},` +
		`"a":[1.5,-9223372036854775808,9223372036854775807,1e+21,1e-7,null,"",{}],"task_id":"t",` +
		`"text":"Grüße, 世界 👋 \u003cb\u003e\u0026\u2028\u0000","z":1}`
	if diff := cmp.Diff(want, string(seen.Spec.Payload.Raw)); diff != "" {
		t.Fatalf("what is delivered (-want +got):\n%s", diff)
	}
	got := s.ask(t, s.get("t", ns), withSecret("right"))
	if diff := cmp.Diff(answer{200, http.Header{
		"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Length": {fmt.Sprint(len(want))}, "Webhook-Id": {string(d.UID)}, "Webhook-Delivery-Name": {"d"},
		"Webhook-Delivery-Phase": {"Pending"}, "Webhook-Delivery-Attempts": {"0"},
	}, want}, got); diff != "" {
		t.Errorf("while it is pending (-want +got):\n%s", diff)
	}
	d.Status = v1alpha1.WebhookDeliveryStatus{Phase: v1alpha1.PhaseUndeliverable}
	if err := admin.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	got = s.ask(t, s.get("t", ns), withSecret("right"))
	if got.Body != want || got.Header.Get(PhaseHeader) != "Undeliverable" {
		t.Errorf("when it has finished: %+v", got)
	}
}

// TestTaskIDsOfAnyKind are found and nothing else is: a field selector has characters of its own.
func TestTaskIDsOfAnyKind(t *testing.T) {
	s, ns := serveTLS(t, t.TempDir()), namespace(t)
	storeSecret(t, ns, "webhook", "right")
	store(t, ns, "none", `{"from":"none"}`, "webhook")
	ids := []string{"550e8400-e29b-41d4-a716-446655440000", `a,b=c\d!=e`, "two words", " ", "ü&x=y#z?", `"'`, "+", "%41",
		"line\nbreak", "..", strings.Repeat("世", 253)}
	for i, id := range ids {
		store(t, ns, fmt.Sprintf("d-%d", i), fmt.Sprintf(`{"task_id":%q}`, id), "webhook")
	}
	for i, id := range ids {
		want := fmt.Sprintf("d-%d", i)
		body := fmt.Sprintf(`{"task_id":%q,"namespace":%q}`, id, ns)
		for _, r := range []*http.Request{s.get(id, ns), s.post(body)} {
			got := s.ask(t, r, withSecret("right"))
			if got.Header.Get(NameHeader) != want {
				t.Errorf("%s %q: %d %s, want %s", r.Method, id, got.Code, got.Body, want)
			}
		}
	}
}

func TestWhoMayRead(t *testing.T) {
	s, ns, other := serveTLS(t, t.TempDir()), namespace(t), namespace(t)
	storeSecret(t, ns, "webhook", "right\n")
	storeSecret(t, other, "webhook", "other's")
	store(t, ns, "one", `{"task_id":"t-1"}`, "webhook")
	store(t, ns, "bare", `{"task_id":"t-2"}`, "")
	store(t, ns, "unready", `{"task_id":"t-3"}`, "missing")
	store(t, other, "theirs", `{"task_id":"t-4"}`, "webhook")
	reader := tokenOf(t, ns, "reader", "*")
	named := tokenOf(t, ns, "named", "one")
	nobody := tokenOf(t, ns, "nobody", "")
	foreign := tokenOf(t, other, "reader", "*")
	const text = `{"error":"no such task, or not yours to read"}`
	refused := answer{404, http.Header{
		"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"},
		"Content-Length": {fmt.Sprint(len(text))},
	}, text}
	for name, tc := range map[string]struct {
		task, namespace string
		credential      func(*http.Request)
		found           bool
	}{
		"the secret":                       {"t-1", ns, withSecret("right"), true},
		"a token":                          {"t-1", ns, withToken(reader), true},
		"a token, no secret on delivery":   {"t-2", ns, withToken(reader), true},
		"a token for this object alone":    {"t-1", ns, withToken(named), true},
		"a wrong secret and a good token":  {"t-1", ns, both("wrong", reader), true},
		"the secret and a bad token":       {"t-1", ns, both("right", "guess"), true},
		"nothing":                          {"t-1", ns, nil, false},
		"a wrong secret":                   {"t-1", ns, withSecret("wrong"), false},
		"a guess":                          {"t-1", ns, withSecret("righ"), false},
		"another namespace":                {"t-1", other, withSecret("right"), false},
		"another namespace's secret":       {"t-1", ns, withSecret("other's"), false},
		"a secret of the same name":        {"t-4", other, withSecret("right"), false},
		"no such namespace":                {"t-1", "nowhere", withSecret("right"), false},
		"no such namespace, token":         {"t-1", "nowhere", withToken(reader), false},
		"no secret on the delivery":        {"t-2", ns, withSecret("right"), false},
		"its Secret does not exist":        {"t-3", ns, withSecret("right"), false},
		"no such task":                     {"t-9", ns, withSecret("right"), false},
		"a task of another namespace":      {"t-4", ns, withSecret("other's"), false},
		"a token without rights":           {"t-1", ns, withToken(nobody), false},
		"a token for another object alone": {"t-2", ns, withToken(named), false},
		"a token of another namespace":     {"t-1", ns, withToken(foreign), false},
		"a token, elsewhere":               {"t-4", other, withToken(reader), false},
		"no token of this cluster":         {"t-1", ns, withToken("ey." + reader[3:]), false},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := s.ask(t, s.get(tc.task, tc.namespace), tc.credential)
			took := time.Since(start)
			if tc.found {
				if want := fmt.Sprintf(`{"task_id":%q}`, tc.task); got.Code != 200 || got.Body != want {
					t.Errorf("got %d %s", got.Code, got.Body)
				}
				return
			}
			if diff := cmp.Diff(refused, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if took < 250*time.Millisecond {
				t.Errorf("took %s", took)
			}
		})
	}
}

func both(secret, token string) func(*http.Request) {
	return func(r *http.Request) { withSecret(secret)(r); withToken(token)(r) }
}

// TestSecretsAreReadLive rotates a secret, takes it away and brings it back: each shows at once.
func TestSecretsAreReadLive(t *testing.T) {
	s, ns := serveTLS(t, t.TempDir()), namespace(t)
	secret := storeSecret(t, ns, "webhook", "old")
	d := store(t, ns, "d", `{"task_id":"t"}`, "webhook")
	check := func(when, value string, want int) {
		t.Helper()
		if got := s.ask(t, s.get("t", ns), withSecret(value)); got.Code != want {
			t.Errorf("%s: %q got %d, want %d", when, value, got.Code, want)
		}
	}
	check("at first", "old", 200)
	secret.Data = map[string][]byte{"webhook-secret": []byte("new"), "previous": []byte("old")}
	if err := admin.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	check("after a rotation", "old", 404)
	check("after a rotation", "new", 200)
	if err := admin.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	check("without the Secret", "new", 404)
	storeSecret(t, ns, "webhook", "new")
	check("with the Secret again", "new", 200)
	if err := admin.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	check("without the delivery", "new", 404)
}
