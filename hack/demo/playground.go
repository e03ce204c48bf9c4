// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"text/template"
)

// directions say how to use what is running.
var directions = template.Must(template.New("").Parse(`
Everything stays until Ctrl-C. In another terminal, here in the checkout:

  export KUBECONFIG={{.Kubeconfig}} PATH=$PWD/bin/k8s:$PATH
  kubectl --namespace {{.Namespace}} get whd --watch
  kubectl --namespace {{.Namespace}} apply --filename config/samples/late-secret.yaml

receiver    {{.Receiver}}/ok  (or /status/503, /fail-first/2, /slow/3000, /hang)
metrics     {{.Metrics}}
{{with .Prometheus}}Prometheus  {{.}}/alerts
{{end}}log         {{.Log}}
`))

// stay says how to use what is running, and returns when ctx ends.
func (d *demo) stay(ctx context.Context) error {
	kubeconfig, err := d.plane.Kubeconfig(d.plane.Config())
	if err != nil {
		return err
	}
	var text strings.Builder
	err = directions.Execute(&text, map[string]string{
		"Kubeconfig": kubeconfig, "Namespace": namespace, "Receiver": d.receiver.URL(),
		"Metrics": d.manager.MetricsURL(), "Prometheus": d.prometheus, "Log": d.managerLog(),
	})
	if err != nil {
		return err
	}
	d.screen.say("%s", text.String())
	<-ctx.Done()
	return context.Cause(ctx)
}
