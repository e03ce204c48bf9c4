// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

func TestDeleteRequest(t *testing.T) {
	var path string
	var got metav1.DeleteOptions
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.Method + " " + r.URL.Path
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
	}))
	defer server.Close()
	a, err := newAPI(&rest.Config{Host: server.URL}, 1)
	if err != nil {
		t.Fatal(err)
	}
	o := object{types.NamespacedName{Namespace: "tasks", Name: "a"}, "the-uid", "7"}
	if err := a.delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := "DELETE /apis/webhookdelivery.dev/v1alpha1/namespaces/tasks/webhookdeliveries/a"; path != want {
		t.Errorf("the request is %s, want %s", path, want)
	}
	want := metav1.DeleteOptions{
		TypeMeta:          got.TypeMeta,
		Preconditions:     &metav1.Preconditions{UID: new(types.UID("the-uid")), ResourceVersion: new("7")},
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
