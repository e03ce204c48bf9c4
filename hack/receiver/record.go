// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Record is the account of one request.
type Record struct {
	// Arrived is when the headers had been read, by the wall clock, in UTC.
	Arrived time.Time `json:"arrived"`
	// Elapsed is the same moment by the monotonic clock, as time since the receiver was made.
	Elapsed time.Duration `json:"elapsed_ns"`
	// Took is the time from then to the answer, or to its being given up. 0 while Open.
	Took time.Duration `json:"took_ns"`

	Path      string `json:"path"`
	WebhookID string `json:"webhook_id"`
	// Attempt is 1 for the first request with this WebhookID, 2 for the second, and so on.
	Attempt int `json:"attempt"`
	// TaskID is the payload's task_id. It is empty if there was none.
	TaskID string `json:"task_id"`
	// BodySHA256 and BodyBytes are of the body as far as it was received. Equal digests prove equal bytes.
	BodySHA256 Digest `json:"body_sha256"`
	BodyBytes  int    `json:"body_bytes"`

	Secret    Check `json:"secret"`
	Signature Check `json:"signature"`

	// Status is what was answered, 0 if nothing (yet).
	Status int `json:"status"`
	// Open is true until the answer is decided or given up.
	Open bool `json:"open"`
	// ClientGone is true if the client is known to have left before the answer was written. An answer that was
	// written and that the client then did not read cannot be told from one that it did.
	ClientGone bool `json:"client_gone"`
}

// Digest is a SHA-256 digest, in hexadecimal as text.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string {
	return hex.EncodeToString(d[:])
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) {
	return []byte(d.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It is an error if the text is not 64 hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("%d characters are no SHA-256 digest", len(text))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// ReadRecords reads JSON lines as GET /account of a receiver's admin address writes them.
func ReadRecords(r io.Reader) ([]Record, error) {
	var records []Record
	for d := json.NewDecoder(r); ; {
		var next Record
		if err := d.Decode(&next); errors.Is(err, io.EOF) {
			return records, nil
		} else if err != nil {
			return nil, fmt.Errorf("record %d of the account: %w", len(records)+1, err)
		}
		records = append(records, next)
	}
}
