// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxURL is the CRD's limit.
const maxURL = 2048

// check returns what the API server would refuse, and names that no Secret can have.
func (t Target) check() error {
	var errs []error
	if err := checkURL(t.URL); err != nil {
		errs = append(errs, fmt.Errorf("the URL %w", err))
	}
	if t.SecretName == "" && t.SecretKey != "" {
		errs = append(errs, errors.New("there is a key of a Secret, but no Secret"))
	}
	if t.SecretName != "" {
		if wrong := validation.IsDNS1123Subdomain(t.SecretName); len(wrong) > 0 {
			errs = append(errs, fmt.Errorf("%q cannot be a Secret's name: %s", t.SecretName, wrong[0]))
		}
	}
	if t.SecretKey != "" {
		if wrong := validation.IsConfigMapKey(t.SecretKey); len(wrong) > 0 {
			errs = append(errs, fmt.Errorf("%q cannot be a Secret's key: %s", t.SecretKey, wrong[0]))
		}
	}
	return errors.Join(errs...)
}

// checkURL has the CRD's rules in Go. The errors do not quote the URL: there may be a password in it.
func checkURL(raw string) error {
	if len(raw) > maxURL {
		return fmt.Errorf("has %d bytes, but at most %d are allowed", len(raw), maxURL)
	}
	if strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return errors.New("must be plain ASCII: write an international host name in its xn-- form and " +
			"percent-encode the rest")
	}
	if strings.Contains(raw, "@") {
		return errors.New("must not contain '@': put credentials in a Secret, and percent-encode an '@' in path or " +
			"query as %40")
	}
	if strings.Contains(raw, "#") {
		return errors.New("must not have a fragment: it would never be sent")
	}
	u, err := url.ParseRequestURI(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return errors.New("must be an absolute https URL with a host, for example https://receiver.example/webhook")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return errors.New("must have a port between 1 and 65535, or none")
		}
	}
	return nil
}
