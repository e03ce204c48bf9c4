// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"net/http"
	"strings"
	"time"
)

// maxRetryAfter is the longest wait that is reported, so that adding it to a time cannot overflow.
const maxRetryAfter = 365 * 24 * time.Hour

// retryAfter returns how long, from now on, the sender of an answer wants to be left alone. Only 429 and 503 say so
// (RFC 6585, section 4; RFC 9110, section 15.6.4). It is 0 without a header, and with one that cannot be read.
func retryAfter(code int, header http.Header, now time.Time) time.Duration {
	if code != http.StatusTooManyRequests && code != http.StatusServiceUnavailable {
		return 0
	}
	return parseRetryAfter(header.Get("Retry-After"), now)
}

// parseRetryAfter reads delta-seconds or an HTTP-date (RFC 9110, section 10.2.3), from 0 to maxRetryAfter.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds := time.Duration(0)
		for _, digit := range value {
			seconds = min(seconds*10+time.Duration(digit-'0'), maxRetryAfter/time.Second)
		}
		return seconds * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
