// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxSecret is how long a secret may be, in bytes. Servers take headers of 8 KiB and more; the bound is for the
// operator's memory, as a Secret may have a megabyte and each request under way has a copy.
const maxSecret = 4 << 10

// setHeaders adds what tells the receiver which delivery this is and, where there is a secret, who sent it: the secret
// itself as x-webhook-secret, and a signature by each key as Standard Webhooks has it
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
// The secret must have passed checkSecret.
func setHeaders(header http.Header, req *Request, now time.Time) error {
	header.Set(standardwebhooks.HeaderWebhookID, req.ID)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if req.Secret == nil {
		return nil
	}
	secret, previous := trimNewline(req.Secret), trimNewline(req.Previous)
	header.Set("X-Webhook-Secret", string(secret))
	signatures, err := sign(secret, req.ID, now, req.Body)
	if err != nil {
		return err
	}
	if len(previous) > 0 && !bytes.Equal(previous, secret) {
		second, err := sign(previous, req.ID, now, req.Body)
		if err != nil {
			return err
		}
		signatures += " " + second
	}
	header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	return nil
}

func sign(secret []byte, id string, now time.Time, body []byte) (string, error) {
	webhook, err := standardwebhooks.NewWebhookRaw(signingKey(secret))
	if err != nil {
		return "", fmt.Errorf("using the signing key: %w", err)
	}
	return webhook.Sign(id, now, body)
}

// signingKey returns what whsec_… encodes, and the bytes of any other value as they are. A value that encodes nothing
// is of the second kind: everyone knows the empty key.
func signingKey(secret []byte) []byte {
	if encoded, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(key) > 0 {
			return key
		}
	}
	return secret
}

// checkSecret returns why a secret cannot be a header's value, or "". A value with white space around it is refused
// because net/http, and every receiver, would cut that off (RFC 9110, section 5.5).
func checkSecret(secret []byte) string {
	if secret == nil {
		return ""
	}
	value := string(trimNewline(secret))
	switch {
	case value == "":
		return "the secret is empty"
	case len(value) > maxSecret:
		return "the secret has more than 4096 bytes"
	case !httpguts.ValidHeaderFieldValue(value):
		return "the secret contains a line break or another control character, which an HTTP header cannot carry"
	case value != strings.Trim(value, " \t"):
		return "the secret begins or ends with white space, which an HTTP header cannot carry"
	default:
		return ""
	}
}

// trimNewline cuts off one newline at the end, "\n" or "\r\n", which editors and echo(1) add to a value.
func trimNewline(value []byte) []byte {
	if line, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		return bytes.TrimSuffix(line, []byte("\r"))
	}
	return value
}
