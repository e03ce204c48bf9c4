// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/controlplane"
)

// api is a strict client of a real API server that serves the generated CRD and nothing else of this project.
var api client.Client

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
		err = plane.Apply(context.Background(), "../../config/crd")
	}
	if err == nil {
		scheme := runtime.NewScheme()
		err = v1alpha1.AddToScheme(scheme)
		if err == nil {
			api, err = client.New(plane.Config(), client.Options{Scheme: scheme})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	api = client.WithFieldValidation(api, metav1.FieldValidationStrict)
	return m.Run()
}

const (
	minimalSpec = `{url: "https://receiver.example/webhook", payload: {}}`
	fullSpec    = `
url: https://receiver.example/webhook
secretRef: {name: webhook-secret, key: webhook-secret, previousKey: old}
payload: {task_id: t-1, nested: {list: [{a: 1}], text: x}, zero: 0, nothing: null}
tls: {clientCertSecretRef: {name: client}, caSecretRef: {name: ca}}
deliverBefore: "2031-01-01T00:00:00Z"
suspend: true
ttlSecondsAfterFinished: 60`
)

// with returns spec, in YAML, with the members of changes in the place of its own; null takes a member away.
func with(t *testing.T, spec, changes string) map[string]any {
	t.Helper()
	merged, changed := map[string]any{}, map[string]any{}
	for text, target := range map[string]*map[string]any{spec: &merged, changes: &changed} {
		if err := yaml.Unmarshal([]byte(text), target); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for name, value := range changed {
		merged[name] = value
		if value == nil {
			delete(merged, name)
		}
	}
	return merged
}

func delivery(spec any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("WebhookDelivery"))
	object.SetNamespace(metav1.NamespaceDefault)
	object.SetGenerateName("admission-")
	return object
}

// created stores a delivery for the length of the test.
func created(t *testing.T, spec map[string]any) *unstructured.Unstructured {
	t.Helper()
	object := delivery(spec)
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.WithoutCancel(t.Context()), object); err != nil {
			t.Error(err)
		}
	})
	return object
}

// complaints are what a user reads when the API server refuses a request, a line for each: "field: message".
func complaints(err error) string {
	var status *apierrors.StatusError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &status):
		return err.Error()
	case status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0:
		return status.ErrStatus.Message
	}
	var lines []string
	for _, cause := range status.ErrStatus.Details.Causes {
		if cause.Field != "<nil>" { // "some validation rules were not checked", besides the reason why
			lines = append(lines, cause.Field+": "+cause.Message)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func checkComplaints(t *testing.T, err error, want string) {
	t.Helper()
	if diff := cmp.Diff(want, complaints(err)); diff != "" {
		t.Errorf("what the user reads (-want +got):\n%s", diff)
	}
}

func TestURLs(t *testing.T) {
	const (
		absolute = "must be an absolute https URL with a host, for example https://receiver.example/webhook"
		port     = "must have a port between 1 and 65535, or none"
		host     = "must have a host that is a DNS name, or an IP address in its usual notation"
		ascii    = "must be plain ASCII: write an international host name in its xn-- form and percent-encode the rest"
		userinfo = "must not contain '@': put credentials in a Secret and name it in secretRef, " +
			"and percent-encode an '@' in path or query as %40"
		fragment = "must not have a fragment: it would never be sent"
		empty    = "spec.url in body should be at least 1 chars long"
	)
	longest := "https://receiver.example/" + strings.Repeat("x", 2048-len("https://receiver.example/"))
	for url, want := range map[string][]string{
		"https://receiver.example":                    nil,
		"https://receiver.example/webhook?a=b%40c":    nil,
		"https://receiver.example/a:0//b:99999?c=:0":  nil,
		"https://receiver.example?c=https://x:0":      nil,
		"https://receiver.example:1/":                 nil,
		"https://receiver.example:65535":              nil,
		"https://receiver.example:/":                  nil,
		"HTTPS://RECEIVER.EXAMPLE/":                   nil,
		"https://xn--bcher-kva.example/":              nil,
		"https://192.0.2.1:8443/":                     nil,
		"https://[2001:db8::1]:8443/":                 nil,
		"https://[::ffff:192.0.2.1]/":                 nil,
		"https://my_receiver.example./":               nil,
		"https://1.2.3.4.sslip.io/":                   nil,
		"https://receiver.3scale/":                    nil,
		"https://" + strings.Repeat("a.", 126) + "a.": nil,
		"http://receiver.example/":                    nil, // policy's business: some meshes encrypt by themselves
		longest:                                       nil,

		"":                               {absolute, empty},
		"receiver.example/webhook":       {absolute},
		"//receiver.example/webhook":     {absolute},
		"https:receiver.example":         {absolute},
		"https:///webhook":               {absolute},
		"https://:443/webhook":           {absolute},
		"ftp://receiver.example/":        {absolute},
		"javascript:alert(1)":            {absolute},
		"https://receiver%2eexample/":    {absolute},
		"https://receiver.example/%zz":   {absolute},
		"https://receiver.example:443x/": {absolute},
		"https://receiver.example:-1/":   {absolute},
		"https://receiver.example:1:2/":  {absolute},

		"https://receiver.example:0/":                   {port},
		"https://receiver.example:00443":                {port},
		"https://receiver.example:65536?x":              {port},
		"https://receiver.example:99999/":               {port},
		"https://receiver.example:12345678901234567890": {port},
		"https://[2001:db8::1]:0/":                      {port},

		"https://127.1/":                             {host},
		"https://2130706433/":                        {host},
		"https://0177.0.0.1/":                        {host},
		"https://127.0.0.1.":                         {host},
		"https://0x7f000001/":                        {host},
		"https://127.0.0.0X1/":                       {host},
		"https://receiver..example/":                 {host},
		"https://.":                                  {host},
		"https://*.example/":                         {host},
		"https://[fe80::1%25eth0]/":                  {host},
		"https://" + strings.Repeat("a.", 127) + "a": {host},
		"https://" + strings.Repeat("a", 64) + "/":   {host},

		"https://user:password@receiver.example/": {userinfo},
		"https://user@receiver.example/":          {userinfo},
		"https://receiver.example/a:0/@":          {userinfo},
		"https://receiver.example/#top":           {fragment},
		"https://bücher.example/":                 {ascii},
		"https://receiver.example/ü":              {ascii},
		"https://receiver.example/a b":            {ascii},
		"https://receiver.example/\n":             {absolute, ascii},
		"https://receiver.example/\x00":           {absolute, ascii},
	} {
		t.Run(url, func(t *testing.T) {
			spec := with(t, minimalSpec, "{}")
			spec["url"] = url
			var lines []string
			for _, message := range want {
				lines = append(lines, fmt.Sprintf("spec.url: Invalid value: %q: %s", url, message))
			}
			checkComplaints(t, api.Create(t.Context(), delivery(spec), client.DryRunAll), strings.Join(lines, "\n"))
		})
	}
}

func TestSpecs(t *testing.T) {
	const (
		tooLong = ": Too long: may not be more than 253 bytes"
		// a client refuses to ask for a Secret by another name, so that no delivery could wait for it
		secretName = " in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'"
		strict     = `WebhookDelivery in version "v1alpha1" cannot be handled as a WebhookDelivery: strict decoding error: `
	)
	long := strings.Repeat("x", 254)
	for name, test := range map[string]struct {
		changes string // to the minimal spec
		want    string
	}{
		"minimal":               {changes: `{}`},
		"full":                  {changes: fullSpec},
		"payload of any shape":  {changes: `{payload: {a: [1, 2.5, null, {"": false}], task_id: ""}}`},
		"payload of 256 KiB":    {changes: `{payload: {text: ` + strings.Repeat("x", 256<<10) + `}}`},
		"longest task_id":       {changes: `{payload: {task_id: ` + long[:253] + `}}`},
		"kept for ten years":    {changes: `{ttlSecondsAfterFinished: 315360000}`},
		"deleted when finished": {changes: `{ttlSecondsAfterFinished: 0}`},

		"no url": {`{url: null}`, "spec.url: Required value"},
		"url too long": {`{url: "https://x/` + strings.Repeat("x", 2039) + `"}`,
			"spec.url: Too long: may not be more than 2048 bytes"},
		"no payload": {`{payload: null}`, "spec.payload: Required value"},
		"payload a list": {`{payload: [1]}`,
			`spec.payload: Invalid value: "array": spec.payload in body must be of type object: "array"`},
		"payload a string": {`{payload: "{}"}`,
			`spec.payload: Invalid value: "string": spec.payload in body must be of type object: "string"`},
		"task_id a number": {`{payload: {task_id: 7}}`, `spec.payload.task_id: Invalid value: "integer": ` +
			`spec.payload.task_id in body must be of type string: "integer"`},
		"task_id too long": {`{payload: {task_id: ` + long + `}}`, "spec.payload.task_id" + tooLong},

		"secretRef without name": {`{secretRef: {key: k}}`, "spec.secretRef.name: Required value"},
		"secretRef with empty name": {`{secretRef: {name: ""}}`,
			`spec.secretRef.name: Invalid value: "": spec.secretRef.name in body should be at least 1 chars long`},
		"secretRef to a path": {`{secretRef: {name: ../configmaps/c}}`,
			`spec.secretRef.name: Invalid value: "../configmaps/c": spec.secretRef.name` + secretName},
		"secretRef no client can ask for": {`{secretRef: {name: "a%b"}}`,
			`spec.secretRef.name: Invalid value: "a%b": spec.secretRef.name` + secretName},
		"secretRef to a subdomain": {`{secretRef: {name: a.b-c.d}}`, ""},
		"secretRef name too long":  {`{secretRef: {name: ` + long + `}}`, "spec.secretRef.name" + tooLong},
		"secretRef key too long":   {`{secretRef: {name: s, key: ` + long + `}}`, "spec.secretRef.key" + tooLong},
		"secretRef previousKey too long": {`{secretRef: {name: s, previousKey: ` + long + `}}`,
			"spec.secretRef.previousKey" + tooLong},
		"secretRef in another namespace": {`{secretRef: {name: s, namespace: other}}`,
			strict + `unknown field "spec.secretRef.namespace"`},

		"tls says nothing": {`{tls: {}}`,
			"spec.tls: Invalid value: 0: spec.tls in body should have at least 1 properties"},
		"tls Secret without a name": {`{tls: {caSecretRef: {}}}`, "spec.tls.caSecretRef.name: Required value"},
		"tls Secret that is a path": {`{tls: {clientCertSecretRef: {name: ..}}}`,
			`spec.tls.clientCertSecretRef.name: Invalid value: "..": spec.tls.clientCertSecretRef.name` + secretName},
		"tls Secret name too long": {`{tls: {clientCertSecretRef: {name: ` + long + `}}}`,
			"spec.tls.clientCertSecretRef.name" + tooLong},
		"tls verification off": {`{tls: {insecureSkipVerify: true}}`,
			strict + `unknown field "spec.tls.insecureSkipVerify"`},

		"negative retention": {`{ttlSecondsAfterFinished: -1}`, "spec.ttlSecondsAfterFinished: Invalid value: -1: " +
			"spec.ttlSecondsAfterFinished in body should be greater than or equal to 0"},
		"retention too long": {`{ttlSecondsAfterFinished: 315360001}`, "spec.ttlSecondsAfterFinished: Invalid value: " +
			"315360001: spec.ttlSecondsAfterFinished in body should be less than or equal to 315360000"},
		"deliverBefore a day": {`{deliverBefore: "2031-01-01"}`, `spec.deliverBefore: Invalid value: "2031-01-01": ` +
			`spec.deliverBefore in body must be of type date-time: "2031-01-01"`},
		"suspend a string": {`{suspend: "yes"}`,
			`spec.suspend: Invalid value: "string": spec.suspend in body must be of type boolean: "string"`},
		"unknown field": {`{retries: 5}`, strict + `unknown field "spec.retries"`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := with(t, minimalSpec, test.changes)
			checkComplaints(t, api.Create(t.Context(), delivery(spec), client.DryRunAll), test.want)
		})
	}
}

func TestIntentIsImmutable(t *testing.T) {
	const immutable = "spec: Invalid value: url, payload, secretRef, tls and deliverBefore are immutable: " +
		"create another WebhookDelivery to send something else or elsewhere"
	for name, test := range map[string]struct {
		spec, changes, want string
	}{
		"nothing":           {fullSpec, `{}`, ""},
		"suspend":           {minimalSpec, `{suspend: true}`, ""},
		"resume":            {fullSpec, `{suspend: null}`, ""},
		"retention":         {fullSpec, `{ttlSecondsAfterFinished: 0}`, ""},
		"retention added":   {minimalSpec, `{ttlSecondsAfterFinished: 5}`, ""},
		"retention removed": {fullSpec, `{ttlSecondsAfterFinished: null}`, ""},
		"default key left":  {fullSpec, `{secretRef: {name: webhook-secret, previousKey: old}}`, ""},
		"same instant":      {fullSpec, `{deliverBefore: "2031-01-01T01:00:00+01:00"}`, ""},
		"large payload kept": {`{url: "https://x", payload: {text: ` + strings.Repeat("x", 1<<20) + `}}`,
			`{suspend: true}`, ""},

		"url":                   {minimalSpec, `{url: "https://receiver.example/other"}`, immutable},
		"payload gains key":     {minimalSpec, `{payload: {a: 1}}`, immutable},
		"payload gains task_id": {minimalSpec, `{payload: {task_id: ""}}`, immutable},
		"payload value": {fullSpec,
			`{payload: {task_id: t-1, nested: {list: [{a: 1}], text: x}, zero: 1, nothing: null}}`, immutable},
		"payload task_id": {fullSpec,
			`{payload: {task_id: t-2, nested: {list: [{a: 1}], text: x}, zero: 0, nothing: null}}`, immutable},
		"payload nested unknown value": {fullSpec,
			`{payload: {task_id: t-1, nested: {list: [{a: 2}], text: x}, zero: 0, nothing: null}}`, immutable},
		"payload nested unknown key": {fullSpec,
			`{payload: {task_id: t-1, nested: {list: [{a: 1}], txt: x}, zero: 0, nothing: null}}`, immutable},
		"payload null left out": {fullSpec,
			`{payload: {task_id: t-1, nested: {list: [{a: 1}], text: x}, zero: 0}}`, immutable},

		"secretRef added":     {minimalSpec, `{secretRef: {name: s}}`, immutable},
		"secretRef removed":   {fullSpec, `{secretRef: null}`, immutable},
		"secretRef name":      {fullSpec, `{secretRef: {name: s, previousKey: old}}`, immutable},
		"secretRef key":       {fullSpec, `{secretRef: {name: webhook-secret, key: k, previousKey: old}}`, immutable},
		"secretRef old key":   {fullSpec, `{secretRef: {name: webhook-secret}}`, immutable},
		"tls added":           {minimalSpec, `{tls: {caSecretRef: {name: ca}}}`, immutable},
		"tls removed":         {fullSpec, `{tls: null}`, immutable},
		"tls client removed":  {fullSpec, `{tls: {caSecretRef: {name: ca}}}`, immutable},
		"tls ca name":         {fullSpec, `{tls: {clientCertSecretRef: {name: client}, caSecretRef: {name: x}}}`, immutable},
		"deliverBefore added": {minimalSpec, `{deliverBefore: "2031-01-01T00:00:00Z"}`, immutable},
		"deliverBefore gone":  {fullSpec, `{deliverBefore: null}`, immutable},
		"deliverBefore later": {fullSpec, `{deliverBefore: "2031-01-01T00:00:01Z"}`, immutable},
	} {
		t.Run(name, func(t *testing.T) {
			object := created(t, with(t, test.spec, `{}`))
			object.Object["spec"] = with(t, test.spec, test.changes)
			checkComplaints(t, api.Update(t.Context(), object), test.want)
		})
	}
}

func TestStatusLimits(t *testing.T) {
	const attempt = `{"number":1,"startTime":"2026-01-01T00:00:00.000000Z","durationMilliseconds":1}`
	for name, test := range map[string]struct {
		status, want string
	}{
		"most attempts": {`{"attempts":[` + strings.Repeat(attempt+",", 15) + attempt + `]}`, ""},
		"attempts": {`{"attempts":[` + strings.Repeat(attempt+",", 16) + attempt + `]}`,
			"status.attempts: Too many: 17: must have at most 16 items"},
		"phase": {`{"phase":"Done"}`, `status.phase: Unsupported value: "Done": supported values: ` +
			`"Pending", "Retrying", "Delivered", "Undeliverable"`},
		"message": {`{"attempts":[` + strings.TrimSuffix(attempt, "}") + `,"message":"` + strings.Repeat("x", 257) + `"}]}`,
			"status.attempts[0].message: Too long: may not be more than 256 bytes"},
		"code": {`{"attempts":[` + strings.TrimSuffix(attempt, "}") + `,"statusCode":1000}]}`,
			"status.attempts[0].statusCode: Invalid value: 1000: " +
				"attempts[0].statusCode in body should be less than or equal to 999"},
	} {
		t.Run(name, func(t *testing.T) {
			object := created(t, with(t, minimalSpec, `{}`))
			patch := client.RawPatch(types.MergePatchType, []byte(`{"status":`+test.status+`}`))
			checkComplaints(t, api.Status().Patch(t.Context(), object, patch), test.want)
		})
	}
}

func TestStatusStartsPending(t *testing.T) {
	object := &v1alpha1.WebhookDelivery{}
	object.Namespace, object.GenerateName = metav1.NamespaceDefault, "pending-"
	object.Spec.URL = "https://receiver.example/webhook"
	object.Spec.Payload.Raw = []byte(`{}`)
	// Who creates a delivery cannot pretend that it is done with.
	object.Status.Phase, object.Status.ObservedGeneration = v1alpha1.PhaseDelivered, 1
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	stored := &v1alpha1.WebhookDelivery{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), stored); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.WebhookDeliveryStatus{Phase: v1alpha1.PhasePending, ObservedGeneration: -1}
	for where, got := range map[string]v1alpha1.WebhookDeliveryStatus{
		"answer to create": object.Status,
		"stored object":    stored.Status,
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
}
