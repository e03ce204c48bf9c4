// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// failure classifies an error of the transport. The messages are fixed phrases, chosen by the type of the error: the
// texts of net, net/http and crypto/x509 quote URLs, addresses, certificates and responses.
func failure(ctx context.Context, a *attempt, err error) (Class, string) {
	connected := a.conn.Load() != nil
	if errors.Is(err, errAddressDenied) {
		return AddressDenied, errAddressDenied.Error()
	}
	if !time.Now().Before(a.deadline) {
		return Timeout, timeoutMessage(a)
	}
	if ctx.Err() != nil {
		return ConnectionFailed, "the operator broke off the request"
	}
	if _, ok := errors.AsType[proxyError](err); ok {
		return ProxyError, proxyMessage(err)
	}
	if message := tlsMessage(err); message != "" {
		return TLSError, message
	}
	if a.early.Load() {
		return InvalidResponse, earlyAnswer
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return DNSError, dnsMessage(dns)
	}
	if connected && (errors.Is(err, errTooMuch) || a.answered.Load() && !isConnectionError(err)) {
		return InvalidResponse, invalidHeader
	}
	return ConnectionFailed, connectionMessage(err, connected)
}

// earlyAnswer is not an answer: a receiver, or a proxy in front of it, sent more than it should on a connection that is
// kept. net/http would take that for the answer to the next request.
const earlyAnswer = "the receiver sent something before it was asked"

var invalidHeader = fmt.Sprintf("the response header is not valid HTTP/1, or has more than %d KiB or %d lines",
	maxResponseHeader>>10, maxHeaderLines)

func timeoutMessage(a *attempt) string {
	within := " within " + a.deadline.Sub(a.start).Round(time.Millisecond).String()
	switch {
	case a.conn.Load() != nil:
		return "no response header" + within
	case a.handshaking.Load():
		return "no complete TLS handshake" + within
	default:
		return "no connection" + within
	}
}

func proxyMessage(err error) string {
	if refusal, ok := errors.AsType[proxyRefusal](err); ok {
		return refusal.Error()
	}
	return "no connection through the egress proxy"
}

// tlsMessage returns "" for an error that is none of TLS.
func tlsMessage(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "certificate has expired or is not yet valid"
		}
		return "certificate is not valid for this use"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "certificate signed by unknown authority"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "certificate is not valid for the host of the URL"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate cannot be verified"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the receiver does not speak TLS"
	}
	// crypto/tls reports an alert, sent or received, as the Op of an OpError; the text is one of RFC 8446, appendix B.2.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return op.Op + ": " + op.Err.Error()
	}
	if _, ok := errors.AsType[handshakeError](err); ok {
		return "the TLS handshake failed"
	}
	return ""
}

func dnsMessage(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "host not found"
	case err.IsTimeout:
		return "host lookup timed out"
	default:
		return "host lookup failed"
	}
}

// isConnectionError reports whether the connection ended, as opposed to carrying something that is not HTTP.
func isConnectionError(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func connectionMessage(err error, connected bool) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	switch {
	case errors.Is(err, errUnreachable), errors.Is(err, errTooManyAddresses):
		return "no address of the host could be reached"
	case connected:
		return "connection closed before a complete response header"
	default:
		return "connection failed"
	}
}
