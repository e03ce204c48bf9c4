// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/webhookdelivery/operator/api/v1alpha1"
)

// counted are the counters of this package, and of each histogram how often and what it observed, by name and labels.
// How long a request takes is no fact of the tests.
func counted(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		name, ours := strings.CutPrefix(family.GetName(), "webhookdelivery_")
		if !ours || name == "build_info" {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			series := strings.Join(append([]string{name}, labels...), " ")
			if histogram := metric.GetHistogram(); histogram != nil {
				values[series+" count"] = float64(histogram.GetSampleCount())
				if name != "attempt_duration_seconds" {
					values[series+" sum"] = histogram.GetSampleSum()
				}
				continue
			}
			values[series] = metric.GetCounter().GetValue()
		}
	}
	return values
}

func TestWhatIsCounted(t *testing.T) {
	newborn := func(d *v1alpha1.WebhookDelivery) { d.CreationTimestamp = metav1.Now() }
	tests := map[string]struct {
		answer  answer
		prepare func(*stack)
		run     func(*stack)
		want    map[string]float64
	}{
		"delivered at once": {
			answer: always(200),
			want: map[string]float64{
				"attempts_total Delivered": 1, "attempt_duration_seconds count": 1,
				"delivered_after_seconds count":      1,
				"finished_total Delivered Succeeded": 1,
			},
		},
		"delivered by the second attempt": {
			answer: failFirst(1),
			want: map[string]float64{
				"attempts_total Delivered": 1, "attempts_total UnexpectedStatus": 1, "attempt_duration_seconds count": 2,
				"delivered_after_seconds count": 1, "delivered_after_seconds sum": 10,
				"finished_total Delivered Succeeded": 1, "retry_lateness_seconds count": 1,
			},
		},
		"given up": {
			answer: always(500),
			want: map[string]float64{
				"attempts_total UnexpectedStatus": 4, "attempt_duration_seconds count": 4,
				"finished_total Undeliverable RetriesExhausted": 1, "retry_lateness_seconds count": 3,
			},
		},
		"the answer to the last write is lost": {
			answer: always(200),
			prepare: func(s *stack) {
				lost := false
				s.patch = func(write func() error) error {
					err := write()
					if err == nil && !lost {
						lost, err = true, errors.New("connection reset")
					}
					return err
				}
			},
			want: map[string]float64{
				"attempts_total Delivered": 1, "attempt_duration_seconds count": 1,
				"delivered_after_seconds count":      1,
				"finished_total Delivered Succeeded": 1, "status_write_errors_total error": 1,
				"status_write_errors_total conflict": 1,
			},
		},
		"a retry that the user held up is not late": {
			answer: failFirst(1),
			run: func(s *stack) {
				s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = true })
				time.Sleep(time.Minute)
				s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Spec.Suspend = false })
			},
			want: map[string]float64{
				"attempts_total Delivered": 1, "attempts_total UnexpectedStatus": 1, "attempt_duration_seconds count": 2,
				"delivered_after_seconds count": 1, "delivered_after_seconds sum": 61,
				"finished_total Delivered Succeeded": 1,
			},
		},
		"delivered again, the time counts from the request": {
			answer: failFirst(4),
			run: func(s *stack) {
				time.Sleep(time.Hour)
				s.update("a", func(d *v1alpha1.WebhookDelivery) { d.Labels = map[string]string{v1alpha1.LabelRedeliver: "true"} })
			},
			want: map[string]float64{
				"attempts_total Delivered": 1, "attempts_total UnexpectedStatus": 4, "attempt_duration_seconds count": 5,
				"delivered_after_seconds count":      1,
				"finished_total Delivered Succeeded": 1, "finished_total Undeliverable RetriesExhausted": 1,
				"retry_lateness_seconds count": 3,
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.answer, func(s *stack) {
				if tc.prepare != nil {
					tc.prepare(s)
				}
				s.run()
				time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // creation times have whole seconds
				before := counted(t)
				s.create(makeDelivery("a").with(newborn).obj())
				time.Sleep(time.Second)
				if tc.run != nil {
					tc.run(s)
				}
				time.Sleep(10 * time.Minute)
				got := map[string]float64{}
				for series, value := range counted(t) {
					// Whole seconds: the lag of the stack's watch is no fact of the tests either.
					if grown := float64(int(value - before[series] + 0.1)); grown != 0 && !strings.HasPrefix(series, "stale_cache") {
						got[series] = grown
					}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestEveryReasonIsThereFromTheStart makes sure that no way to end, or to fail, was left out of the closed sets.
func TestEveryReasonIsThereFromTheStart(t *testing.T) {
	series := counted(t)
	for class, reason := range classReasons {
		_, attempt := series["attempts_total "+string(reason)]
		_, end := series["finished_total Undeliverable "+string(reason)]
		if attempt != class.IsAttempt() || end != (!class.IsAttempt() && reason != v1alpha1.ReasonSecretInvalid) {
			t.Errorf("%s: there as a result of attempts %t, as a reason of the end %t", class, attempt, end)
		}
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	before := counted(t)
	for _, reused := range []bool{false, true, true} {
		CountConnection(reused)
	}
	after := counted(t)
	for series, want := range map[string]float64{
		"receiver_connections_total opened": 1, "receiver_connections_total reused": 2,
	} {
		if got := after[series] - before[series]; got != want {
			t.Errorf("%s grew by %v, want %v", series, got, want)
		}
	}
}
