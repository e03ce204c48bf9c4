// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"slices"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Check is what came out of one check of a request.
type Check uint8

// The outcomes of a check.
const (
	NotChecked Check = iota // checking was off, or something earlier had already decided
	Passed
	Missing // the request does not carry what is to be checked
	Wrong
	Stale // the signature's timestamp is more than five minutes away from now
)

var checkNames = []string{"not-checked", "passed", "missing", "wrong", "stale"}

// checkOf names the outcome behind an error of a Verifier.
func checkOf(err error) Check {
	switch {
	case err == nil:
		return Passed
	case errors.Is(err, ErrSecretMissing), errors.Is(err, standardwebhooks.ErrRequiredHeaders):
		return Missing
	case errors.Is(err, standardwebhooks.ErrMessageTooOld), errors.Is(err, standardwebhooks.ErrMessageTooNew):
		return Stale
	default:
		return Wrong
	}
}

// String returns the name used in JSON.
func (c Check) String() string {
	if int(c) >= len(checkNames) {
		return fmt.Sprintf("check-%d", uint8(c))
	}
	return checkNames[c]
}

// MarshalText implements encoding.TextMarshaler.
func (c Check) MarshalText() ([]byte, error) {
	return []byte(c.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It is an error if the text is no name of a Check.
func (c *Check) UnmarshalText(text []byte) error {
	i := slices.Index(checkNames, string(text))
	if i < 0 {
		return fmt.Errorf("%q is not the outcome of a check", text)
	}
	*c = Check(i)
	return nil
}
