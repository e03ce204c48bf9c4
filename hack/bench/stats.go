// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the value that a share p of the values, from 0 to 1, does not exceed: the nearest rank, one of the
// values themselves. It is 0 without values.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// median returns the middle of the values, the mean of the two in the middle where their number is even. It is 0
// without values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// medianOf returns the median of what of tells about each item.
func medianOf[T any](items []T, of func(T) float64) float64 {
	values := make([]float64, 0, len(items))
	for _, item := range items {
		values = append(values, of(item))
	}
	return median(values)
}

// medianRatio returns the median of the ratios of pairs: as and bs were measured in turns, so that what disturbed one
// of a pair is likely to have disturbed the other.
func medianRatio[T any](as, bs []T, of func(T) float64) float64 {
	ratios := make([]float64, 0, len(as))
	for i := range min(len(as), len(bs)) {
		ratios = append(ratios, ratio(of(as[i]), of(bs[i])))
	}
	return median(ratios)
}

// ratio returns a/b, or 0 if b is 0: JSON knows no infinity.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
