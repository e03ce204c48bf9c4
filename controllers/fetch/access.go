// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// reviewTTL is how long an answer about a token or its rights is used again, and so how long a revoked one serves on.
const reviewTTL = 10 * time.Second

// access asks the API server whom a bearer token belongs to and what that user may read.
type access struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
}

// newAccess needs the rights to create tokenreviews and subjectaccessreviews.
func newAccess(config *rest.Config, httpClient *http.Client) (access, error) {
	authentication, err := authenticationv1.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return access{}, fmt.Errorf("a client for token reviews: %w", err)
	}
	authorization, err := authorizationv1.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return access{}, fmt.Errorf("a client for access reviews: %w", err)
	}
	once := &wait.Backoff{Steps: 1} // the client of the endpoint tries again
	tokens, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient:  authentication,
		TokenAccessReviewTimeout: lookUpTimeout,
		CacheTTL:                 reviewTTL,
		WebhookRetryBackoff:      once,
	}.New()
	if err != nil {
		return access{}, fmt.Errorf("reviewing tokens: %w", err)
	}
	rights, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: authorization,
		AllowCacheTTL:             reviewTTL,
		DenyCacheTTL:              reviewTTL,
		WebhookRetryBackoff:       once,
	}.New()
	if err != nil {
		return access{}, fmt.Errorf("reviewing access: %w", err)
	}
	return access{tokens, rights}, nil
}

// user returns the user whose bearer token r carries, or nil if it carries none that is valid. The error says that the
// API server could not tell.
func (a access) user(ctx context.Context, r *http.Request) (user.Info, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, nil
	}
	response, ok, err := a.authenticator.AuthenticateRequest(r.WithContext(ctx))
	if ok {
		return response.User, nil
	}
	if couldNotTell(err) {
		return nil, fmt.Errorf("reviewing a token: %w", err)
	}
	return nil, nil
}

// couldNotTell separates an API server that did not answer from one that answered no, which is an error too.
func couldNotTell(err error) bool {
	if several, ok := errors.AsType[utilerrors.Aggregate](err); ok {
		return slices.ContainsFunc(several.Errors(), couldNotTell)
	}
	_, api := errors.AsType[*apierrors.StatusError](err)
	_, transport := errors.AsType[*url.Error](err)
	return api || transport || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// mayGet reports whether the user may get d through the Kubernetes API.
func (a access) mayGet(ctx context.Context, who user.Info, d *v1alpha1.WebhookDelivery) (bool, error) {
	decision, _, err := a.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: "get", ResourceRequest: true,
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: "webhookdeliveries",
		Namespace: d.Namespace, Name: d.Name,
	})
	if err != nil {
		return false, fmt.Errorf("reviewing access: %w", err)
	}
	return decision == authorizer.DecisionAllow, nil
}
