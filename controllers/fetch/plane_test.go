// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
	"github.com/webhookdelivery/operator/hack/receiver"
)

// The real API server: an administrator's clients, and what a service account with exactly the documented rights has.
var (
	admin      client.WithWatch
	clientset  *kubernetes.Clientset
	restricted *rest.Config
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	plane, err := controlplane.Start(context.Background(), controlplane.Options{})
	if err == nil {
		defer func() {
			if err := plane.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		err = prepare(plane)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// rights are all that the endpoint needs.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: fetch}
rules:
- {apiGroups: [webhookdelivery.dev], resources: [webhookdeliveries], verbs: [get, list]}
- {apiGroups: [""], resources: [secrets], verbs: [get]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: fetch}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fetch}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
`

func prepare(plane *controlplane.ControlPlane) error {
	ctx := context.Background()
	manifest := filepath.Join(plane.Dir(), "rights.yaml")
	if err := os.WriteFile(manifest, []byte(rights), 0o600); err != nil {
		return err
	}
	for _, path := range []string{"../../config/crd", manifest} {
		if err := plane.Apply(ctx, path); err != nil {
			return err
		}
	}
	var err error
	if admin, err = client.NewWithWatch(plane.Config(), client.Options{Scheme: scheme()}); err != nil {
		return err
	}
	if clientset, err = kubernetes.NewForConfig(plane.Config()); err != nil {
		return err
	}
	const who = "system:serviceaccount:default:operator"
	if restricted, err = plane.User(who); err != nil {
		return err
	}
	return untilAllowed(ctx, who, authorizationv1.ResourceAttributes{
		Verb: "list", Group: "webhookdelivery.dev", Resource: "webhookdeliveries"})
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(s)
	_ = v1alpha1.AddToScheme(s)
	return s
}

// untilAllowed waits until the API server's authorizer has seen a new binding.
func untilAllowed(ctx context.Context, who string, what authorizationv1.ResourceAttributes) error {
	review := &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: who, ResourceAttributes: &what}}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			got, err := clientset.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			return err == nil && got.Status.Allowed, err
		})
}

// namespace makes a new namespace.
func namespace(t *testing.T) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tasks-"}}
	if err := admin.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n.Name
}

func storeSecret(t *testing.T, namespace, name, value string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data: map[string][]byte{"webhook-secret": []byte(value)}}
	if err := admin.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// store stores a delivery with a payload, in JSON; secret "" is none.
func store(t *testing.T, namespace, name, body, secret string) *v1alpha1.WebhookDelivery {
	t.Helper()
	d := &v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	d.Spec.URL = "https://receiver.example/webhook"
	d.Spec.Payload = payload.Payload{Raw: []byte(body)}
	if secret != "" {
		d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: secret}
	}
	if err := admin.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// tokenOf makes a service account with a role of one rule, unless that is empty, and returns a token of it.
func tokenOf(t *testing.T, namespace, name, rule string) string {
	t.Helper()
	ctx := t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := clientset.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if rule != "" {
		bind(t, namespace, name, rule)
	}
	hour := int64(3600)
	token, err := clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// served is an endpoint on a loopback port.
type served struct {
	url    string
	client *http.Client
	stop   func() error
}

// serveTLS runs an endpoint that may do what the operator may, with a certificate in dir.
func serveTLS(t *testing.T, dir string) *served {
	t.Helper()
	authority := certify(t, dir)
	httpClient, err := rest.HTTPClientFor(restricted)
	if err != nil {
		t.Fatal(err)
	}
	live, err := client.New(restricted, client.Options{HTTPClient: httpClient, Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	options := DefaultOptions()
	options.BindAddress = "127.0.0.1:0"
	options.RequestsPerSecond = 1000
	options.CertFile, options.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	s, err := New(restricted, httpClient, live, logr.Discard(), options)
	if err != nil {
		t.Fatal(err)
	}
	running := serve(t, s)
	running.url = "https" + running.url[len("http"):]
	running.client = clientTrusting(t, authority)
	return running
}

// serve runs s until the test ends or stop is called.
func serve(t *testing.T, s *Server) *served {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listener) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return &served{url: "http://" + listener.Addr().String() + Path, client: &http.Client{}, stop: stop}
}

// certify writes the certificate of a new authority and its key to dir, each at once, and returns the authority.
func certify(t *testing.T, dir string) *receiver.Authority {
	t.Helper()
	authority, err := receiver.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	config, err := authority.ServerConfig("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
		"tls.crt": {Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]},
	} {
		temporary := filepath.Join(dir, name+".new")
		if err := os.WriteFile(temporary, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return authority
}

// clientTrusting offers HTTP/2 as most clients do.
func clientTrusting(t *testing.T, authority *receiver.Authority) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *served) get(task, namespace string) *http.Request {
	r, _ := http.NewRequest(http.MethodGet,
		s.url+"?"+url.Values{"task_id": {task}, "namespace": {namespace}}.Encode(), nil)
	return r
}

func (s *served) post(body string) *http.Request {
	r, _ := http.NewRequest(http.MethodPost, s.url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// answer is what a client reads.
type answer struct {
	Code   int
	Header http.Header
	Body   string
}

// ask sends r, changed by change if that is not nil.
func (s *served) ask(t *testing.T, r *http.Request, change func(*http.Request)) answer {
	t.Helper()
	if change != nil {
		change(r)
	}
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.ProtoMajor != 1 {
		t.Errorf("answered by %s", response.Proto)
	}
	response.Header.Del("Date")
	return answer{response.StatusCode, response.Header, string(body)}
}

// freeAddress is a loopback address with a port that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
