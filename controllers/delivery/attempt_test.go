// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/controllers/delivery/lanes"
	"github.com/webhookdelivery/operator/controllers/delivery/sender"
)

func TestPlaceOf(t *testing.T) {
	tests := map[string]string{
		"https://receiver.example/a":         "https://receiver.example:443",
		"https://receiver.example:443/b?c=d": "https://receiver.example:443",
		"HTTPS://Receiver.EXAMPLE./":         "https://receiver.example:443",
		"http://receiver.example/":           "http://receiver.example:80",
		"https://receiver.example:8443/":     "https://receiver.example:8443",
		"https://[2001:DB8::1]/":             "https://[2001:db8::1]:443",
		"://":                                "",
	}
	for url, want := range tests {
		t.Run(url, func(t *testing.T) {
			d := makeDelivery("a").with(func(d *v1alpha1.WebhookDelivery) { d.Spec.URL = url }).obj()
			if got := placeOf(d); got != (lanes.Place{Endpoint: want, Namespace: "tasks"}) {
				t.Errorf("placeOf(%q) = %+v, want endpoint %q", url, got, want)
			}
		})
	}
}

// TestEveryClassHasAReason keeps the sender's classes and the API's reasons together.
func TestEveryClassHasAReason(t *testing.T) {
	for _, class := range []sender.Class{
		sender.Delivered, sender.UnexpectedStatus, sender.RedirectRefused, sender.Timeout, sender.DNSError,
		sender.ConnectionFailed, sender.TLSError, sender.InvalidResponse, sender.ProxyError, sender.AddressDenied,
		sender.InsecureURL, sender.InvalidURL, sender.InvalidSecret, sender.InvalidTLS,
	} {
		if _, ok := classReasons[class]; ok != (class != sender.Delivered) {
			t.Errorf("class %s: reason %q", class, classReasons[class])
		}
	}
}
