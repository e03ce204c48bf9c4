// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Both are present as soon as the operator has written a status, at most one is True, and a True one
// is final, as Complete and Failed are for a Job.
const (
	// ConditionDelivered is True when the receiver answered an attempt with 2xx in time.
	ConditionDelivered = "Delivered"
	// ConditionUndeliverable is True when the operator has given up. The payload stays readable in the object.
	ConditionUndeliverable = "Undeliverable"
)

// LabelRedeliver with the value "true" asks for a delivery to be made again, if it has ended, or now, if it has not.
// The operator removes it once the request is accepted.
const LabelRedeliver = GroupName + "/redeliver"

// Phase is a delivery's state in one word. It says nothing that the conditions do not say, and exists because only a
// plain field can be a field selector.
type Phase string

// The phases. Delivered and Undeliverable are final.
const (
	// PhasePending is a delivery of which no attempt has been recorded yet. It is the default.
	PhasePending Phase = "Pending"
	// PhaseRetrying is a delivery with at least one failed attempt and at least one more to come.
	PhaseRetrying Phase = "Retrying"
	// PhaseDelivered is a delivery that the receiver answered with 2xx.
	PhaseDelivered Phase = "Delivered"
	// PhaseUndeliverable is a delivery that the operator has given up.
	PhaseUndeliverable Phase = "Undeliverable"
)

// Reason is the machine-readable reason of an attempt or of a condition.
type Reason string

// Reasons why one attempt failed.
const (
	// ReasonUnexpectedStatus is an answer outside 2xx and 3xx.
	ReasonUnexpectedStatus Reason = "UnexpectedStatus"
	// ReasonRedirectRefused is a 3xx answer. Redirects are never followed: they would carry the secret elsewhere.
	ReasonRedirectRefused Reason = "RedirectRefused"
	// ReasonTimeout is no complete response header within the request timeout, whatever part of the exchange was slow.
	ReasonTimeout Reason = "Timeout"
	// ReasonDNSError is a host name that could not be resolved.
	ReasonDNSError Reason = "DNSError"
	// ReasonConnectionFailed is a connection that could not be made or broke before the response header.
	ReasonConnectionFailed Reason = "ConnectionFailed"
	// ReasonTLSError is a failed TLS handshake, a certificate that does not verify among them.
	ReasonTLSError Reason = "TLSError"
	// ReasonInvalidResponse is an answer that is not HTTP, whose header is larger than the operator reads, or that was
	// there before the request.
	ReasonInvalidResponse Reason = "InvalidResponse"
	// ReasonProxyError is the administrator's egress proxy refusing or failing to connect.
	ReasonProxyError Reason = "ProxyError"
)

// Reasons why a delivery waits. They are reasons of both conditions while both are False, and spend no attempt.
const (
	// ReasonRetrying says that an attempt failed and another is scheduled.
	ReasonRetrying Reason = "Retrying"
	// ReasonSuspended says that spec.suspend holds the next attempt back.
	ReasonSuspended Reason = "Suspended"
	// ReasonSecretNotFound says that a Secret that spec refers to does not exist, or may not be read.
	ReasonSecretNotFound Reason = "SecretNotFound"
	// ReasonSecretKeyNotFound says that a Secret that spec refers to lacks the key.
	ReasonSecretKeyNotFound Reason = "SecretKeyNotFound"
	// ReasonSecretInvalid says that a Secret's value cannot be used, for example as an HTTP header.
	ReasonSecretInvalid Reason = "SecretInvalid"
	// ReasonRedelivering says that a request to deliver again, or now, was accepted.
	ReasonRedelivering Reason = "Redelivering"
	// ReasonResumed says that spec.suspend was lifted and the next attempt is scheduled.
	ReasonResumed Reason = "Resumed"
)

// Reasons of a True condition, each of them final.
const (
	// ReasonSucceeded is the reason of Delivered=True.
	ReasonSucceeded Reason = "Succeeded"
	// ReasonRetriesExhausted says that every attempt of the schedule failed.
	ReasonRetriesExhausted Reason = "RetriesExhausted"
	// ReasonAddressDenied says that policy forbids every address of the URL's host, or its port. No attempt is spent.
	ReasonAddressDenied Reason = "AddressDenied"
	// ReasonInsecureURL says that the URL is not https and the operator does not allow http.
	ReasonInsecureURL Reason = "InsecureURL"
	// ReasonInvalidURL says that the URL passed admission but cannot be requested.
	ReasonInvalidURL Reason = "InvalidURL"
	// ReasonSecretUnavailable says that a Secret was missing or unusable for longer than the operator waits.
	ReasonSecretUnavailable Reason = "SecretUnavailable"
	// ReasonPayloadTooLarge says that the payload is larger than the operator sends.
	ReasonPayloadTooLarge Reason = "PayloadTooLarge"
	// ReasonExpired says that spec.deliverBefore has passed.
	ReasonExpired Reason = "Expired"
)
