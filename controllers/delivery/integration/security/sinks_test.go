// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// needles gives the forms in which a value might show, each with a name that does not show it.
func needles(name string, value []byte) map[string]string {
	forms := map[string]string{
		name:                     string(value),
		name + ", hex":           hex.EncodeToString(value),
		name + ", HEX":           strings.ToUpper(hex.EncodeToString(value)),
		name + ", list of bytes": strings.Trim(fmt.Sprintf("%d", value), "[]"),
	}
	// Inside a longer text in base64 a value may begin at any of three places. Its first and last characters there
	// depend on its neighbours.
	for shift := range 3 {
		for kind, encoding := range map[string]*base64.Encoding{"std": base64.RawStdEncoding, "url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, shift), value...))
			forms[fmt.Sprintf("%s, base64 %s %d", name, kind, shift)] = encoded[(shift*8+5)/6 : len(encoded)-1]
		}
	}
	return forms
}

// dumped is a line of hex.Dump, as client-go logs what is not text.
var dumped = regexp.MustCompile(`[0-9a-f]{8} ((?: {1,2}[0-9a-f]{2}){1,16})`)

// undump returns what the hexadecimal dumps in a text are of.
func undump(text string) string {
	var all strings.Builder
	for _, line := range dumped.FindAllStringSubmatch(text, -1) {
		raw, err := hex.DecodeString(strings.ReplaceAll(line[1], " ", ""))
		if err != nil {
			continue
		}
		all.Write(raw)
	}
	return all.String()
}

// sink is a place where nothing confidential may show. proof is something that does.
type sink struct{ content, proof string }

// sinks are all that the loud managers tell anyone.
func sinks(t *testing.T) map[string]sink {
	t.Helper()
	all := map[string]sink{
		"objects": {objects(t), string(v1alpha1.ReasonRetriesExhausted)},
		"events":  {events(t), string(v1alpha1.ReasonRetriesExhausted)},
	}
	for _, namespace := range []string{loud, proxied} {
		manager := managers[namespace]
		log, err := os.ReadFile(manager.log)
		if err != nil {
			t.Fatal(err)
		}
		debug := "http://" + manager.pprof + "/debug/pprof/"
		all[namespace+": log"] = sink{string(log), `"attempt failed"`}
		all[namespace+": /metrics"] = sink{get(t, manager.MetricsURL()), `webhookdelivery_attempts_total{result="Delivered"}`}
		all[namespace+": heap"] = sink{get(t, debug+"heap?debug=1"), "heap profile"}
		all[namespace+": goroutine"] = sink{get(t, debug+"goroutine?debug=2"), "controllers/delivery"}
		all[namespace+": cmdline"] = sink{get(t, debug+"cmdline"), loudest}
	}
	return all
}

// objects are all deliveries, without their spec.
func objects(t *testing.T) string {
	t.Helper()
	var list v1alpha1.WebhookDeliveryList
	if err := cluster.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		list.Items[i].Spec = v1alpha1.WebhookDeliverySpec{}
	}
	return marshalled(t, list.Items)
}

// events are all events once there is one about each delivery of the loud managers that could not be delivered.
func events(t *testing.T) string {
	t.Helper()
	var about eventsv1.EventList
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) {
			if err := cluster.List(ctx, &about); err != nil {
				return false, err
			}
			regarding := map[string]bool{}
			for _, e := range about.Items {
				regarding[string(e.Regarding.UID)] = true
			}
			var list v1alpha1.WebhookDeliveryList
			if err := cluster.List(ctx, &list); err != nil {
				return false, err
			}
			for _, d := range list.Items {
				if d.Labels["hygiene"] != "" && d.Status.Phase == v1alpha1.PhaseUndeliverable && !regarding[string(d.UID)] {
					return false, nil
				}
			}
			return true, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return marshalled(t, about.Items)
}

func marshalled(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
