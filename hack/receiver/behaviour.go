// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// redirectTarget is where a redirecting receiver points to: a request that shows up there has followed it.
const redirectTarget = "/ok/redirected"

const maxStatus = 599

// Behaviour is how a receiver answers requests that passed verification. The zero value answers 200 at once.
type Behaviour struct {
	// FailFirst restricts Status, Hang, RetryAfter and Redirect to the first requests of each webhook-id, so many;
	// later ones are answered 200. 0 means that they apply to every request.
	FailFirst int
	// Status is the answer. 0 means 307 with Redirect, else 503 with FailFirst or RetryAfter, else 200.
	Status int
	// Hang reads the request and never answers it.
	Hang bool
	// Delay is the time before the answer. The work is accepted before it, as by a receiver that is slow.
	Delay time.Duration
	// RetryAfter is the value of the Retry-After header, unless it is empty.
	RetryAfter string
	// Redirect sends a Location header that points to /ok/redirected of the same receiver.
	Redirect bool
}

// ParseBehaviour reads a behaviour from the start of a URL's path:
//
//	/ok  /hang  /redirect  /fail-first/{n}  /status/{code}  /slow/{milliseconds}  /retry-after/{value}
//
// They can be chained, as in /fail-first/2/status/429/retry-after/60, and what follows the last one is only a name, as
// in /slow/50/customer-7. ok is false if the path starts with none of them; it is an error if it starts with one whose
// argument is missing or out of range.
func ParseBehaviour(path string) (b Behaviour, ok bool, err error) {
	rest := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for len(rest) > 0 {
		n, err := b.parse(rest)
		if err != nil {
			return Behaviour{}, true, fmt.Errorf("path %q: %w", path, err)
		}
		if n == 0 {
			break
		}
		rest, ok = rest[n:], true
	}
	return b, ok, nil
}

// parse applies the first of the segments to b and returns how many it has used, 0 if it knows no such behaviour.
func (b *Behaviour) parse(segments []string) (used int, err error) {
	argument := ""
	if len(segments) > 1 {
		argument = segments[1]
	}
	switch segments[0] {
	case "ok":
		return 1, nil
	case "hang":
		b.Hang = true
		return 1, nil
	case "redirect":
		b.Redirect = true
		return 1, nil
	case "fail-first":
		b.FailFirst, err = number(argument, 1, 1_000_000)
	case "status":
		b.Status, err = number(argument, http.StatusOK, maxStatus)
	case "slow":
		var ms int
		ms, err = number(argument, 0, 600_000)
		b.Delay = time.Duration(ms) * time.Millisecond
	case "retry-after":
		if b.RetryAfter = argument; argument == "" {
			err = errors.New("a value is missing")
		}
	default:
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", segments[0], err)
	}
	return 2, nil
}

func number(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}

// validate returns an error if the behaviour is not one that can be answered.
func (b Behaviour) validate() error {
	if b.Status != 0 && (b.Status < http.StatusOK || b.Status > maxStatus) {
		return fmt.Errorf("status %d is not from %d to %d", b.Status, http.StatusOK, maxStatus)
	}
	if b.FailFirst < 0 || b.Delay < 0 {
		return errors.New("neither a number of failures nor a delay can be negative")
	}
	return nil
}

// answer is what one request gets.
type answer struct {
	status     int
	hang       bool
	delay      time.Duration
	retryAfter string
	location   string
}

// answer returns what the request gets whose webhook-id is seen for the attempt-th time, counted from 1.
func (b Behaviour) answer(attempt int) answer {
	if b.FailFirst > 0 && attempt > b.FailFirst {
		return answer{status: http.StatusOK, delay: b.Delay}
	}
	a := answer{status: b.Status, hang: b.Hang, delay: b.Delay, retryAfter: b.RetryAfter}
	if b.Redirect {
		a.location = redirectTarget
	}
	switch {
	case a.status != 0:
	case b.Redirect:
		a.status = http.StatusTemporaryRedirect
	case b.FailFirst > 0 || b.RetryAfter != "":
		a.status = http.StatusServiceUnavailable
	default:
		a.status = http.StatusOK
	}
	return a
}

// accepts reports whether the answer tells the sender that its delivery is done.
func (a answer) accepts() bool {
	return !a.hang && accepted(a.status)
}

// accepted reports whether the status is one of 2xx.
func accepted(status int) bool {
	return status >= 200 && status <= 299
}
