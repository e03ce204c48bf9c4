// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

const (
	resource = "webhookdeliveries"

	// asTable asks for cells and metadata: neither spec nor status leaves the API server. Annotations do, and so a copy of
	// the payload where kubectl apply has left one.
	// https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
	asTable = "application/json;as=Table;g=meta.k8s.io;v=v1"

	listTimeout   = time.Minute
	deleteTimeout = 10 * time.Second
)

// lister reads the finished objects of one phase, a page at a time. An empty namespace is all of them; an empty token
// is the first page.
type lister interface {
	list(ctx context.Context, namespace string, phase v1alpha1.Phase, token string) (page, error)
}

// deleter deletes an object unless it has changed since it was seen.
type deleter interface {
	delete(ctx context.Context, o object) error
}

// api is the API server.
type api struct {
	client   rest.Interface
	pageSize int64
}

func newAPI(config *rest.Config, pageSize int64) (*api, error) {
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.ContentType = "application/json"
	config.AcceptContentTypes = "" // each request says what it wants
	config.QPS = -1                // the Sweeper limits deletes; the rest is a page at a time
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing retention: %w", err)
	}
	return &api{client, pageSize}, nil
}

func (a *api) list(ctx context.Context, namespace string, phase v1alpha1.Phase, token string) (page, error) {
	result := a.client.Get().
		NamespaceIfScoped(namespace, namespace != "").
		Resource(resource).
		SetHeader("Accept", asTable).
		VersionedParams(&metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("status.phase", string(phase)).String(),
			Limit:         a.pageSize,
			Continue:      token,
		}, metav1.ParameterCodec).
		Param("includeObject", string(metav1.IncludeMetadata)).
		Timeout(listTimeout).
		Do(ctx)
	if err := result.Error(); err != nil { // Raw's error lacks what the API server says in the body
		return page{}, err
	}
	body, err := result.Raw()
	if err != nil {
		return page{}, err
	}
	return parsePage(body)
}

func (a *api) delete(ctx context.Context, o object) error {
	background := metav1.DeletePropagationBackground
	return a.client.Delete().
		Namespace(o.Namespace).
		Resource(resource).
		Name(o.Name).
		Body(&metav1.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: &o.uid, ResourceVersion: &o.resourceVersion},
			PropagationPolicy: &background,
		}).
		Timeout(deleteTimeout).
		Do(ctx).Error()
}

// nextAfterExpiry returns the token with which the API server lets a list go on whose own token it has forgotten,
// which it does after some minutes. The rest of the list is then newer than its beginning, which does no harm here.
// False if there is none.
func nextAfterExpiry(err error) (string, bool) {
	var status apierrors.APIStatus
	if !apierrors.IsResourceExpired(err) || !errors.As(err, &status) {
		return "", false
	}
	token := status.Status().Continue
	return token, token != ""
}
