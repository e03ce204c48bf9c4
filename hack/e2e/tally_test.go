// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/webhookdelivery/operator/api/v1alpha1"
	"github.com/webhookdelivery/operator/hack/receiver"
)

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// stored is a delivery with an attempt at each of these seconds, all of 100 ms.
func stored(uid types.UID, phase v1alpha1.Phase, seconds ...float64) v1alpha1.WebhookDelivery {
	d := v1alpha1.WebhookDelivery{ObjectMeta: metav1.ObjectMeta{UID: uid}}
	d.Status.Phase = phase
	for _, s := range seconds {
		d.Status.Attempts = append(d.Status.Attempts, v1alpha1.Attempt{
			StartTime: metav1.NewMicroTime(epoch.Add(seconds2duration(s))), DurationMilliseconds: 100,
		})
	}
	return d
}

func seconds2duration(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// request arrived at this second and was answered after 50 ms.
func request(second float64, status int) receiver.Record {
	return receiver.Record{Elapsed: seconds2duration(second), Took: 50 * time.Millisecond, Status: status}
}

func TestCount(t *testing.T) {
	const delivered, undeliverable, retrying = v1alpha1.PhaseDelivered, v1alpha1.PhaseUndeliverable, v1alpha1.PhaseRetrying
	tests := map[string]struct {
		stored []v1alpha1.WebhookDelivery
		seen   map[string][]receiver.Record
		want   tally // of one delivery that was created
	}{
		"delivered at once": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0)},
			seen:   map[string][]receiver.Record{"a": {request(0, 200)}, "of another step": {request(0, 200)}},
			want:   tally{requests: 1},
		},
		"delivered at the second attempt": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0, 10.2)},
			seen:   map[string][]receiver.Record{"a": {request(0, 503), request(10.2, 200)}},
			want:   tally{requests: 2},
		},
		"undeliverable": {
			stored: []v1alpha1.WebhookDelivery{stored("a", undeliverable, 0)},
			seen:   map[string][]receiver.Record{"a": {request(0, 503)}},
			want:   tally{requests: 1},
		},
		"vanished":   {want: tally{lost: 1}},
		"unfinished": {stored: []v1alpha1.WebhookDelivery{stored("a", retrying)}, want: tally{lost: 1}},
		"delivered, it says": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0)},
			want:   tally{lost: 1},
		},
		"undeliverable, it says": {
			stored: []v1alpha1.WebhookDelivery{stored("a", undeliverable, 0)},
			seen:   map[string][]receiver.Record{"a": {request(0, 200)}},
			want:   tally{requests: 1, lost: 1},
		},
		"sent twice, recorded once": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0)},
			seen:   map[string][]receiver.Record{"a": {request(0, 200), request(1, 200)}},
			want:   tally{requests: 2, duplicates: 1},
		},
		"early, by the receiver's clock": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0, 10.2)},
			seen:   map[string][]receiver.Record{"a": {request(0, 503), request(10.04, 200)}},
			want:   tally{requests: 2, early: 1},
		},
		"early, by its own record": {
			stored: []v1alpha1.WebhookDelivery{stored("a", delivered, 0, 10.05)},
			seen:   map[string][]receiver.Record{"a": {request(0, 503), request(1, 503), request(10.05, 200)}},
			want:   tally{requests: 3, duplicates: 1, early: 1},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.want.deliveries = 1
			if diff := cmp.Diff(tc.want, count(1, tc.stored, tc.seen), cmp.AllowUnexported(tally{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	for name, tc := range map[string]struct {
		tally tally
		want  []string
	}{
		"kept":            {tally{deliveries: 9, requests: 12, duplicates: 3, allowed: 3}, nil},
		"one too many":    {tally{duplicates: 4, allowed: 3}, []string{"4 requests repeated"}},
		"all of them":     {tally{deliveries: 9, lost: 2, duplicates: 1, early: 5}, []string{"2 of 9", "1 requests", "5 retries"}},
		"two steps' sums": {tally{lost: 1}.plus(tally{deliveries: 3, lost: 1}), []string{"2 of 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.tally.broken()
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatal(err)
			}
			for _, text := range tc.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q does not say %q", err, text)
				}
			}
		})
	}
}
