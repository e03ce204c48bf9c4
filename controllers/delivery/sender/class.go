// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

// Class says what came of one call of Send. The set is closed.
type Class string

// Delivered is the class of success.
const (
	// Delivered is an answer in 2xx whose header arrived in time. The header decides, also when the body then breaks off.
	Delivered Class = "Delivered"
)

// Classes of a failed attempt: something was, or may have been, sent.
const (
	// UnexpectedStatus is an answer outside 2xx and 3xx.
	UnexpectedStatus Class = "UnexpectedStatus"
	// RedirectRefused is an answer in 3xx. Redirects are never followed: they would carry the secret elsewhere.
	RedirectRefused Class = "RedirectRefused"
	// Timeout is no complete response header by the deadline, whatever part of the exchange was slow.
	Timeout Class = "Timeout"
	// DNSError is a host name that could not be resolved.
	DNSError Class = "DNSError"
	// ConnectionFailed is a connection that could not be made, or that broke before the response header was complete.
	ConnectionFailed Class = "ConnectionFailed"
	// TLSError is a TLS handshake that failed, on either side, a certificate that does not verify among the reasons.
	TLSError Class = "TLSError"
	// InvalidResponse is an answer that is not HTTP/1, whose header is larger than is read, or that was there before the
	// request.
	InvalidResponse Class = "InvalidResponse"
	// ProxyError is an egress proxy that could not be reached or that refused to connect.
	ProxyError Class = "ProxyError"
)

// Classes that are not an attempt: nothing reached the receiver.
const (
	// AddressDenied is a URL whose port, or every address of whose host, policy forbids.
	AddressDenied Class = "AddressDenied"
	// InsecureURL is a URL of scheme http where only https is allowed.
	InsecureURL Class = "InsecureURL"
	// InvalidURL is a URL that cannot be requested.
	InvalidURL Class = "InvalidURL"
	// InvalidSecret is a secret that cannot be sent, byte for byte, as the value of an HTTP header.
	InvalidSecret Class = "InvalidSecret"
	// InvalidTLS is a client certificate, a key or authorities that cannot be used.
	InvalidTLS Class = "InvalidTLS"
)

// IsAttempt reports whether the receiver may have seen anything of the request.
func (c Class) IsAttempt() bool {
	switch c {
	case AddressDenied, InsecureURL, InvalidURL, InvalidSecret, InvalidTLS:
		return false
	default:
		return true
	}
}
