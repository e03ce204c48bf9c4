// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/operator"
)

// What must not show. The first four are values of Secrets, signingKey is what encodedSecret decodes to.
const (
	currentSecret  = "current-Secret-value-7d1fb2"
	previousSecret = "previous-Secret-value-e04c99"
	brokenSecret   = "broken-Secret-value-5aa731"
	brokenKey      = "broken-key-material-c3e882"
	signingKey     = "decoded-signing-key-19f6d0"
	queryMarker    = "query-strings-stay-in-spec"
	payloadMarker  = "payloads-stay-in-spec"
)

var encodedSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(signingKey))

// exposure is one delivery that ends in one of the ways in which a delivery can end.
type exposure struct {
	namespace string // loud, unless it says otherwise
	url       string // without the query
	secret    string // name of the Secret; webhook-secret, unless it says otherwise
	change    func(*v1alpha1.WebhookDelivery)
	attempts  []v1alpha1.Reason
	ending    v1alpha1.Reason
}

// exposures has an entry for every class of failure that can be had on the loopback interface.
func exposures(t *testing.T) map[string]exposure {
	t.Helper()
	closed, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(inbox.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]exposure{
		"address-denied":  {url: "https://" + deniedHost + ":" + port + "/ok", ending: v1alpha1.ReasonAddressDenied},
		"port-denied":     {url: "https://127.0.0.1:10250/ok", ending: v1alpha1.ReasonAddressDenied},
		"missing-secret":  {secret: "nowhere", ending: v1alpha1.ReasonSecretUnavailable},
		"missing-key":     {secret: "other-key", ending: v1alpha1.ReasonSecretUnavailable},
		"broken-value":    {secret: "broken-value", ending: v1alpha1.ReasonSecretUnavailable},
		"broken-material": {change: broken, ending: v1alpha1.ReasonSecretUnavailable},
		"expired":         {change: expired, ending: v1alpha1.ReasonExpired},
		"large-payload":   {change: large, ending: v1alpha1.ReasonPayloadTooLarge},
	}
	for name, to := range map[string]string{
		"delivered": inbox.url("/ok"), "broken-body": inbox.url("/broken-body"),
		"broken-chunks": inbox.url("/broken-chunks"), "unsolicited": chatty.url("/unsolicited"),
	} {
		all[name] = exposure{url: to, attempts: []v1alpha1.Reason{""}, ending: v1alpha1.ReasonSucceeded}
	}
	all["encoded"] = exposure{secret: "encoded", attempts: []v1alpha1.Reason{""}, ending: v1alpha1.ReasonSucceeded}
	all["mutual"] = exposure{
		url: strict.url("/ok"), attempts: []v1alpha1.Reason{""}, ending: v1alpha1.ReasonSucceeded,
		change: func(d *v1alpha1.WebhookDelivery) { withClientCert(d, "client") },
	}
	all["proxy"] = exposure{
		namespace: proxied, url: "https://hygiene.receiver.example/ok",
		attempts: []v1alpha1.Reason{""}, ending: v1alpha1.ReasonSucceeded,
	}
	failing := map[string]struct {
		url    string
		reason v1alpha1.Reason
	}{
		"unauthorized":   {inbox.url("/401"), v1alpha1.ReasonUnexpectedStatus},
		"retry-after":    {inbox.url("/429"), v1alpha1.ReasonUnexpectedStatus},
		"server-error":   {inbox.url("/500"), v1alpha1.ReasonUnexpectedStatus},
		"reason-phrase":  {inbox.url("/reason"), v1alpha1.ReasonUnexpectedStatus},
		"redirect":       {inbox.url("/302"), v1alpha1.ReasonRedirectRefused},
		"timeout":        {inbox.url("/hang"), v1alpha1.ReasonTimeout},
		"unknown-host":   {"https://" + unresolvable + "/ok", v1alpha1.ReasonDNSError},
		"refused":        {"https://" + closed + "/ok", v1alpha1.ReasonConnectionFailed},
		"broken-off":     {inbox.url("/broken-off"), v1alpha1.ReasonConnectionFailed},
		"untrusted":      {stranger.url("/ok"), v1alpha1.ReasonTLSError},
		"no-certificate": {strict.url("/ok"), v1alpha1.ReasonTLSError},
		"no-tls":         {"https://" + tunnel.Addr().String() + "/ok", v1alpha1.ReasonTLSError},
		"not-http":       {inbox.url("/not-http"), v1alpha1.ReasonInvalidResponse},
		"bad-header":     {inbox.url("/bad-header"), v1alpha1.ReasonInvalidResponse},
		"bad-status":     {inbox.url("/bad-status"), v1alpha1.ReasonInvalidResponse},
		"large-header":   {inbox.url("/large-header"), v1alpha1.ReasonInvalidResponse},
		"proxy-refuses":  {"https://refused.hygiene.example/ok", v1alpha1.ReasonProxyError},
	}
	for name, tc := range failing {
		e := exposure{url: tc.url, attempts: []v1alpha1.Reason{tc.reason, tc.reason}, ending: v1alpha1.ReasonRetriesExhausted}
		if tc.reason == v1alpha1.ReasonProxyError {
			e.namespace = proxied
		}
		all[name] = e
	}
	return all
}

func broken(d *v1alpha1.WebhookDelivery) { withClientCert(d, "broken-material") }

func expired(d *v1alpha1.WebhookDelivery) {
	d.Spec.DeliverBefore = &metav1.Time{Time: time.Now().Add(-time.Hour)}
}

func large(d *v1alpha1.WebhookDelivery) {
	d.Spec.Payload.Raw = fmt.Appendf(nil, `{"result":"%s %s"}`, payloadMarker, strings.Repeat("x", maxPayload))
}

// seedSecrets returns the needles of what it puts into Secrets.
func seedSecrets(t *testing.T) map[string]string {
	t.Helper()
	both := map[string][]byte{"webhook-secret": []byte(currentSecret), "previous": []byte(previousSecret)}
	client := material(t, clients, "operator")
	for name, data := range map[string]map[string][]byte{
		"hygiene":      both,
		"encoded":      {"webhook-secret": []byte(encodedSecret)},
		"other-key":    {"other": []byte(currentSecret)},
		"broken-value": {"webhook-secret": []byte(brokenSecret + "\n" + brokenSecret)},
		"broken-material": {
			corev1.TLSCertKey:       client[corev1.TLSCertKey],
			corev1.TLSPrivateKeyKey: []byte("-----BEGIN PRIVATE KEY-----\n" + brokenKey + "\n-----END PRIVATE KEY-----\n"),
		},
		"client": client,
	} {
		store(t, loud, name, data)
	}
	store(t, proxied, "hygiene", both)
	hidden := map[string]string{}
	for name, value := range map[string]string{
		"current secret": currentSecret, "previous secret": previousSecret, "broken secret": brokenSecret,
		"encoded secret": encodedSecret, "signing key": signingKey, "broken TLS key": brokenKey,
		"TLS key": strings.Split(string(client[corev1.TLSPrivateKeyKey]), "\n")[1],
	} {
		maps.Copy(hidden, needles(name, []byte(value)))
	}
	return hidden
}

func (e exposure) delivery(name string) *v1alpha1.WebhookDelivery {
	if e.namespace == "" {
		e.namespace = loud
	}
	if e.url == "" {
		e.url = inbox.url("/ok")
	}
	d := makeDelivery(e.namespace, "hygiene-"+name, e.url+"?token="+queryMarker)
	d.Labels = map[string]string{"hygiene": "true"}
	d.Spec.Payload.Raw = []byte(`{"result":"` + payloadMarker + `"}`)
	d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: "hygiene", PreviousKey: "previous"}
	if e.secret != "" {
		d.Spec.SecretRef.Name = e.secret
	}
	if e.change != nil {
		e.change(d)
	}
	return d
}

// TestNothingConfidentialShows runs a delivery into every end that it can have, under managers that log all they can, and
// then looks for what is confidential in everything that they tell anyone.
func TestNothingConfidentialShows(t *testing.T) {
	t.Parallel()
	hidden := seedSecrets(t)
	expose(t)
	for name, value := range map[string]string{
		"query string": queryMarker, "payload": payloadMarker, "response": responseMarker,
	} {
		maps.Copy(hidden, needles(name, []byte(value)))
	}
	maps.Copy(hidden, signatures(t))
	for place, s := range sinks(t) {
		s.content += undump(s.content)
		if !strings.Contains(s.content, s.proof) {
			t.Errorf("%s has no %q: it is not what it should be", place, s.proof)
		}
		for name, value := range hidden {
			if i := strings.Index(s.content, value); i >= 0 {
				t.Errorf("%s shows the %s: …%q", place, name, s.content[max(0, i-200):min(len(s.content), i+100)])
			}
		}
	}
}

// expose runs all exposures side by side and checks that each ended as it should.
func expose(t *testing.T) {
	t.Helper()
	t.Run("expose", func(t *testing.T) {
		for name, e := range exposures(t) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := e.delivery(name)
				create(t, d)
				d = waitFor(t, d, finished)
				if diff := cmp.Diff(e.attempts, reasons(d)); diff != "" || why(d) != e.ending {
					t.Errorf("ended with %s; attempts (-want +got):\n%s%+v", why(d), diff, d.Status.Attempts)
				}
			})
		}
	})
}

// signatures returns the needles of all signatures that the receivers have seen, after a check that they have seen what
// is to be looked for.
func signatures(t *testing.T) map[string]string {
	t.Helper()
	hidden, secrets, n := map[string]string{}, map[string]bool{}, 0
	for _, saw := range append(inbox.all(), strict.all()...) {
		secrets[saw.header.Get("X-Webhook-Secret")] = true
		for signature := range strings.FieldsSeq(saw.header.Get("Webhook-Signature")) {
			n++
			mac, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1,"))
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(hidden, needles(fmt.Sprintf("signature %d", n), mac))
		}
	}
	if !secrets[currentSecret] || !secrets[encodedSecret] || n < 10 {
		t.Errorf("the receivers saw %d signatures: too little to look for", n)
	}
	return hidden
}

// TestNeedles checks that a value is found in each of its forms, and in the middle of a text in base64.
func TestNeedles(t *testing.T) {
	t.Parallel()
	const value = currentSecret
	for name, text := range map[string]string{
		"plain": "x" + value, "bytes": fmt.Sprintf("%d", []byte("a"+value+"b")), "hex": fmt.Sprintf("%x", "a"+value),
		"base64, 0 before": base64.StdEncoding.EncodeToString([]byte(value + "z")),
		"base64, 1 before": base64.StdEncoding.EncodeToString([]byte("a" + value)),
		"base64, 2 before": base64.StdEncoding.EncodeToString([]byte("ab" + value + "z")),
		"dump":             hex.Dump([]byte("before " + value)), "dump in JSON": marshalled(t, hex.Dump([]byte("before "+value))),
		"base64, in a URL": url.QueryEscape(base64.URLEncoding.EncodeToString([]byte("abc" + value + "xyz"))),
	} {
		found := false
		for _, form := range needles("value", []byte(value)) {
			found = found || strings.Contains(text+undump(text), form)
		}
		if !found {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
}

// TestLogLevelIsBounded starts managers that would log what client-go reads, whole Secrets included.
func TestLogLevelIsBounded(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"8", "10", "127"} {
		expectRefused(t, "--zap-log-level="+level, "--zap-log-level must be below 8")
	}
}

// TestProfilesStayOnLoopback starts managers that would serve profiles to the network.
func TestProfilesStayOnLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{":6060", "0.0.0.0:6060", "[::]:6060", "192.0.2.1:6060", "localhost.example:6060", "6060"} {
		expectRefused(t, "--pprof-bind-address="+address, "must be a loopback address")
	}
}

// expectRefused checks that a manager does not start with the flag, and says why.
func expectRefused(t *testing.T, arg, want string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), operator.Binary(), arg,
		"--kubeconfig=/nowhere", "--metrics-bind-address=0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v\n%s", arg, err, out)
	}
}
