// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission compares what the API server admits with what the operator does. It evaluates the CRD as the API
// server does, by the API server's own code, which is why it is a module of its own.
package admission

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

// admission is what the API server makes of spec.url.
type admission struct {
	schema     validation.SchemaValidator
	structural *structuralschema.Structural
	rules      *schemacel.Validator
	host       cel.Program
}

func newAdmission(f *testing.F) *admission {
	f.Helper()
	data, err := os.ReadFile("../../config/crd/bases/webhookdelivery.dev_webhookdeliveries.yaml")
	if err != nil {
		f.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		f.Fatal(err)
	}
	url := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["url"]
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&url, &internal, nil); err != nil {
		f.Fatal(err)
	}
	a := &admission{}
	if a.schema, _, err = validation.NewSchemaValidator(&internal); err != nil {
		f.Fatal(err)
	}
	if a.structural, err = structuralschema.NewStructural(&internal); err != nil {
		f.Fatal(err)
	}
	a.rules = schemacel.NewValidator(a.structural, false, celconfig.PerCallLimit)
	a.host = compileHost(f)
	return a
}

// compileHost compiles the expression by which the policies of config/policy tell the host.
func compileHost(f *testing.F) cel.Program {
	f.Helper()
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 30),
		EnvOptions:        []cel.EnvOption{cel.Variable("self", cel.StringType)},
	})
	if err != nil {
		f.Fatal(err)
	}
	env := set.NewExpressionsEnv()
	compiled, issues := env.Compile("url(self).getHostname().lowerAscii()")
	if issues.Err() != nil {
		f.Fatal(issues.Err())
	}
	program, err := env.Program(compiled)
	if err != nil {
		f.Fatal(err)
	}
	return program
}

func (a *admission) admits(ctx context.Context, url string) bool {
	if errs := validation.ValidateCustomResource(nil, url, a.schema); len(errs) > 0 {
		return false
	}
	errs, _ := a.rules.Validate(ctx, nil, a.structural, url, nil, celconfig.RuntimeCELCostBudget)
	return len(errs) == 0
}

// FuzzAdmission finds URLs that the API server admits and the sender refuses, or the other way round, and those that lead
// elsewhere than the policies see. A fragment alone is the API server's business.
func FuzzAdmission(f *testing.F) {
	for _, url := range []string{
		"https://receiver.example/hook?a=b", "http://receiver.example:8080", "https://[2001:db8::1]:8443/", "https://127.1/",
		"https://user@receiver.example/", "https://receiver.example:0443/", "https://receiver.example:/", "https:opaque",
		"https://１２７.０.０.１/", "https://xn--bcher-kva.example/", `https://a\@b/`, "https://[fe80::1%25eth0]/",
		"https://a:1:2/", "HTTPS://A.EXAMPLE./", "https://[::ffff:127.0.0.1]/", "https://a.example#@b.example/",
		"https://a.example?@b.example/", "https://0177.0.0.1/", "https://a..b/", "https://a.0x/", "https://%61.example/",
		"https://" + strings.Repeat("a.", 127), "https://" + strings.Repeat("a", 64), "https://[127.0.0.1]/", "https://a/%zz",
		"https://256.1.1.1/", "https://a:65536/", "https://[::1]x/", "https:///a", "//a/", "https://a//b:0/", "https://a?b:0",
	} {
		f.Add(url)
	}
	a := newAdmission(f)
	var dialled []string
	ports, err := sender.ParsePorts("1-65535")
	if err != nil {
		f.Fatal(err)
	}
	s, err := sender.New(sender.Config{
		RequestTimeout: time.Minute, UserAgent: "test/1", AllowHTTP: true, AllowedPorts: ports, Dialer: dialFunc(
			func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				return nil, errors.New("not here")
			}),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, url string) {
		if strings.Contains(url, "#") || len(url) > 2048 {
			return
		}
		dialled = nil
		result := s.Send(t.Context(), sender.Request{ID: "1", URL: url, Body: []byte("{}")})
		admitted := a.admits(t.Context(), url)
		if sendable := result.Class != sender.InvalidURL; admitted != sendable && !strings.Contains(url, "@") {
			t.Fatalf("%q: admitted %t; the sender says %s: %s", url, admitted, result.Class, result.Message)
		}
		if !admitted {
			return
		}
		seen, _, err := a.host.Eval(map[string]any{"self": url})
		if err != nil || len(dialled) != 1 {
			t.Fatalf("%q: dialled %q; %v", url, dialled, err)
		}
		if host, _, err := net.SplitHostPort(dialled[0]); err != nil || strings.ToLower(host) != seen.Value() {
			t.Fatalf("%q: the policies see the host %q, dialled %q", url, seen.Value(), dialled[0])
		}
	})
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}
