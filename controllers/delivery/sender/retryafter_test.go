// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	tests := map[string]struct {
		code  int
		value string
		want  time.Duration
	}{
		"seconds":            {503, "120", 2 * time.Minute},
		"429":                {429, "1", time.Second},
		"zero":               {503, "0", 0},
		"leading zeros":      {503, "0007", 7 * time.Second},
		"date":               {503, "Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second},
		"RFC 850 date":       {503, "Friday, 02-Jan-26 03:04:35 GMT", 30 * time.Second},
		"asctime date":       {503, "Fri Jan  2 03:04:35 2026", 30 * time.Second},
		"past date":          {503, "Fri, 02 Jan 2026 03:04:04 GMT", 0},
		"far date":           {503, "Fri, 31 Dec 9999 23:59:59 GMT", maxRetryAfter},
		"huge":               {503, "99999999999999999999999999", maxRetryAfter},
		"overflows int64":    {503, strconv.Itoa(math.MaxInt64), maxRetryAfter},
		"negative":           {503, "-1", 0},
		"signed":             {503, "+1", 0},
		"fraction":           {503, "1.5", 0},
		"exponent":           {503, "1e3", 0},
		"empty":              {503, "", 0},
		"words":              {503, "soon", 0},
		"not ASCII":          {503, "１", 0},
		"another status":     {500, "120", 0},
		"success":            {200, "120", 0},
		"redirect":           {301, "120", 0},
		"date, other status": {500, "Fri, 02 Jan 2026 03:04:35 GMT", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := retryAfter(tt.code, http.Header{"Retry-After": {tt.value}}, testTime); got != tt.want {
				t.Errorf("retryAfter(%d, %q) = %s, want %s", tt.code, tt.value, got, tt.want)
			}
		})
	}
	if got := retryAfter(503, http.Header{}, testTime); got != 0 {
		t.Errorf("without the header: %s", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"120", "0", "-1", "99999999999999999999", "Fri, 02 Jan 2026 03:04:35 GMT", "Fri Jan  2 03:04:35 2026", "", "1.5",
		"Mon, 01 Jan 0000 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := parseRetryAfter(value, testTime)
		if got < 0 || got > maxRetryAfter {
			t.Errorf("parseRetryAfter(%q) = %s", value, got)
		}
		if seconds, err := strconv.ParseUint(value, 10, 24); err == nil && got != time.Duration(seconds)*time.Second {
			t.Errorf("parseRetryAfter(%q) = %s", value, got)
		}
		if date, err := http.ParseTime(value); err == nil && got != min(max(date.Sub(testTime), 0), maxRetryAfter) {
			t.Errorf("parseRetryAfter(%q) = %s", value, got)
		}
	})
}
