// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/webhookdelivery/operator/api/payload"
	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// t0 is the creation time of the oldest object in table tests.
var t0 = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

const (
	validToken = "token-of-viewer"
	remote     = "192.0.2.7:4711"
)

// makeDelivery returns a delivery of task in namespace tasks, made so many seconds after t0; secret "" is none.
func makeDelivery(name, task string, seconds int, secret string) *v1alpha1.WebhookDelivery {
	d := &v1alpha1.WebhookDelivery{}
	d.Namespace, d.Name, d.UID = "tasks", name, types.UID("uid-"+name)
	d.CreationTimestamp = metav1.NewTime(t0.Add(time.Duration(seconds) * time.Second))
	d.Spec.Payload, _ = payload.New(map[string]string{"task_id": task, "from": name})
	d.Status.Phase = v1alpha1.PhaseUndeliverable
	d.Status.Attempts = make([]v1alpha1.Attempt, 4)
	d.Status.CompletionTime = &t0
	if secret != "" {
		d.Spec.SecretRef = &v1alpha1.SecretKeyReference{Name: secret, Key: "webhook-secret"}
	}
	return d
}

// apiServer is the part of an API server that the endpoint asks, in memory. The kinds of calls are list, delivery,
// secret, token and access.
type apiServer struct {
	deliveries []*v1alpha1.WebhookDelivery
	secrets    map[string]map[string][]byte // in namespace tasks
	latency    map[string]time.Duration
	errors     map[string]error
	// block, if set, holds lists up until it is closed. entered, if set, tells of each list that is held up.
	block, entered chan struct{}

	mu    sync.Mutex
	calls map[string]int
}

func (s *apiServer) call(ctx context.Context, kind string) error {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[kind]++
	s.mu.Unlock()
	if s.block != nil && kind == "list" {
		if s.entered != nil {
			s.entered <- struct{}{}
		}
		<-s.block
	}
	select {
	case <-time.After(s.latency[kind]):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.errors[kind]
}

func (s *apiServer) Get(ctx context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *v1alpha1.WebhookDelivery:
		if err := s.call(ctx, "delivery"); err != nil {
			return err
		}
		for _, d := range s.deliveries {
			if client.ObjectKeyFromObject(d) == key {
				d.DeepCopyInto(o)
				return nil
			}
		}
	case *corev1.Secret:
		if err := s.call(ctx, "secret"); err != nil {
			return err
		}
		if data, ok := s.secrets[key.Name]; ok && key.Namespace == "tasks" {
			o.Data = data
			return nil
		}
	default:
		return fmt.Errorf("unexpected read of a %T", o)
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, key.Name)
}

// List returns metadata in pages, by name, as an API server does.
func (s *apiServer) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	if err := s.call(ctx, "list"); err != nil {
		return err
	}
	options := (&client.ListOptions{}).ApplyOptions(opts)
	task, _ := options.FieldSelector.RequiresExactMatch(taskField)
	var found []*v1alpha1.WebhookDelivery
	for _, d := range s.deliveries {
		if d.Namespace == options.Namespace && d.Spec.Payload.TaskID == task {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b *v1alpha1.WebhookDelivery) int { return cmp.Compare(a.Name, b.Name) })
	list := into.(*metav1.PartialObjectMetadataList)
	start, _ := strconv.Atoi(options.Continue)
	end := min(len(found), start+int(options.Limit))
	for _, d := range found[start:end] {
		list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: d.ObjectMeta})
	}
	if end < len(found) {
		list.Continue = strconv.Itoa(end)
	}
	return nil
}

// access knows one token, of a user who may get what is in namespace tasks and is not called "private…".
func (s *apiServer) access() access {
	return access{
		authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			err := s.call(r.Context(), "token")
			if err == nil && r.Header.Get("Authorization") == "Bearer "+validToken {
				return &authenticator.Response{User: &user.DefaultInfo{Name: "viewer"}}, true, nil
			}
			return nil, false, cmp.Or(err, fmt.Errorf("invalid bearer token"))
		}),
		authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			err := s.call(ctx, "access")
			if err == nil && a.GetUser().GetName() == "viewer" && a.GetVerb() == "get" && a.IsResourceRequest() &&
				a.GetAPIGroup() == "webhookdelivery.dev" && a.GetResource() == "webhookdeliveries" &&
				a.GetNamespace() == "tasks" && !strings.HasPrefix(a.GetName(), "private") && a.GetName() != "" {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", err
		}),
	}
}

// lines collects a log at its default level.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

func (s *apiServer) endpoint(change func(*Options)) (*Server, *lines) {
	options := DefaultOptions()
	options.RequestsPerSecond = 1000
	if change != nil {
		change(&options)
	}
	log := &lines{}
	logger := funcr.New(func(prefix, args string) {
		log.mu.Lock()
		defer log.mu.Unlock()
		log.text = append(log.text, prefix+" "+args)
	}, funcr.Options{})
	return newServer(s, s.access(), logger, options), log
}

// request is a GET of task in namespace, changed by change if that is not nil.
func request(task, namespace string, change func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/fetch?task_id="+task+"&namespace="+namespace, nil)
	r.RemoteAddr = remote
	if change != nil {
		change(r)
	}
	return r
}

func withSecret(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("x-webhook-secret", value) }
}

func withToken(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+value) }
}

// do answers r and tells how long that took.
func do(s *Server, r *http.Request) (*httptest.ResponseRecorder, time.Duration) {
	w := httptest.NewRecorder()
	start := time.Now()
	s.ServeHTTP(w, r)
	return w, time.Since(start)
}

func checkCode(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Fatalf("status %d %s, want %d", w.Code, w.Body, want)
	}
}
