// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/webhookdelivery/operator/api/payload"
)

// WebhookDelivery is the promise to POST payload to url: once if the receiver answers 2xx in time, otherwise again
// after about 10, 30 and 90 seconds, and then to say that it could not be delivered.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=webhookdeliveries,singular=webhookdelivery,shortName=whd,scope=Namespaced
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:selectablefield:JSONPath=`.spec.payload.task_id`
// +kubebuilder:printcolumn:name=Phase,type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Undeliverable")].reason`
// +kubebuilder:printcolumn:name=Attempts,type=integer,JSONPath=`.status.attempts[-1:].number`
// +kubebuilder:printcolumn:name=Code,type=integer,JSONPath=`.status.attempts[-1:].statusCode`
// +kubebuilder:printcolumn:name=Next Attempt,type=string,JSONPath=`.status.nextAttemptTime`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=URL,type=string,priority=1,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name=Completed,type=string,priority=1,JSONPath=`.status.completionTime`
// +kubebuilder:printcolumn:name=TTL,type=integer,priority=1,JSONPath=`.spec.ttlSecondsAfterFinished`
type WebhookDelivery struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is what to deliver, and where.
	// +required
	Spec WebhookDeliverySpec `json:"spec"`

	// status is the story of the delivery so far. Only the operator writes it, once for each attempt and for each change
	// of what it waits for.
	// +optional
	// +kubebuilder:default:={"phase":"Pending","observedGeneration":-1}
	Status WebhookDeliveryStatus `json:"status,omitempty,omitzero"`
}

// WebhookDeliverySpec is what to deliver, and where. Its intent is immutable, as a Job's is: to send something else or
// elsewhere, create another object.
//
// +structType=atomic
// +kubebuilder:validation:XValidation:rule="self.url == oldSelf.url && self.payload == oldSelf.payload && has(self.secretRef) == has(oldSelf.secretRef) && (!has(self.secretRef) || self.secretRef == oldSelf.secretRef) && has(self.tls) == has(oldSelf.tls) && (!has(self.tls) || self.tls == oldSelf.tls) && has(self.deliverBefore) == has(oldSelf.deliverBefore) && (!has(self.deliverBefore) || self.deliverBefore == oldSelf.deliverBefore)",message="url, payload, secretRef, tls and deliverBefore are immutable: create another WebhookDelivery to send something else or elsewhere"
type WebhookDeliverySpec struct {
	// url receives the payload by POST. It must be an absolute https URL with a host and without user information;
	// http is accepted only where the operator runs with --allow-http and the https-only policy is not installed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHostname() != ''",message="must be an absolute https URL with a host, for example https://receiver.example/webhook"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//([^/?#@]*@)?([[][^]]*[]]|[^/?#:]*)(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])?)?([/?#].*)?$') || !isURL(self) || url(self).getHostname() == ''",message="must have a port between 1 and 65535, or none"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/]*//([^/?#@]*@)?([[][0-9A-Fa-f:.]+[]]|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))(:|[/?#]|$)') || (self.matches('^[^/]*//([^/?#@]*@)?([A-Za-z0-9_-]{1,63}[.])*[A-Za-z0-9_-]{1,63}[.]?(:|[/?#]|$)') && !self.matches('^[^/]*//([^/?#@]*@)?([^/?#:]*[.])?([0-9]+|0[xX][0-9A-Fa-f]*)[.]?(:|[/?#]|$)') && !self.matches('^[^/]*//([^/?#@]*@)?[^/?#:]{253}([^/?#:.]|[.][^/?#:])')) || !self.matches('^[!-~]*$') || !isURL(self) || url(self).getHostname() == ''",message="must have a host that is a DNS name, or an IP address in its usual notation"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]*$')",message="must be plain ASCII: write an international host name in its xn-- form and percent-encode the rest"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="must not contain '@': put credentials in a Secret and name it in secretRef, and percent-encode an '@' in path or query as %40"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="must not have a fragment: it would never be sent"
	URL string `json:"url"`

	// secretRef names the value that is sent as the x-webhook-secret header and signs the request (Standard Webhooks).
	// Without it, neither is sent.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`

	// payload is the JSON object to send, the same bytes on every attempt. Its task_id, if it has one, is a string that
	// --field-selector spec.payload.task_id=… finds. It can be read by everyone who may read this object, and is kept
	// until the object is deleted.
	// +required
	Payload payload.Payload `json:"payload"`

	// tls says how to prove this client to the receiver, and which private authority signed the receiver's certificate.
	// +optional
	TLS *TLSConfig `json:"tls,omitempty"`

	// deliverBefore is the time after which no attempt is made and the delivery is Undeliverable, reason Expired.
	// It makes an object that is restored from a backup, or applied again from Git, harmless.
	// +optional
	DeliverBefore *metav1.Time `json:"deliverBefore,omitempty"`

	// suspend holds the next attempt back until it is false again; one that became due in the meantime is made at once
	// then. An attempt in flight is not interrupted. To change it:
	// kubectl patch whd NAME --type=merge -p '{"spec":{"suspend":true}}'
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// ttlSecondsAfterFinished is how many seconds the object is kept after status.completionTime. 0 deletes it at once.
	// By default the operator's --ttl-delivered and --ttl-undeliverable decide.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// SecretKeyReference names a key of a Secret in the namespace of the object.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`

	// key holds the current value. It defaults to webhook-secret.
	// +optional
	// +kubebuilder:default=webhook-secret
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`

	// previousKey optionally holds the value from before a rotation. Where the Secret has that key, requests are signed
	// with both values; x-webhook-secret carries only the current one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PreviousKey string `json:"previousKey,omitempty"`
}

// TLSConfig names Secrets, in the namespace of the object, with TLS material. Verification cannot be turned off.
//
// +kubebuilder:validation:MinProperties=1
type TLSConfig struct {
	// clientCertSecretRef names a Secret of type kubernetes.io/tls with the client certificate and its key.
	// +optional
	ClientCertSecretRef *SecretReference `json:"clientCertSecretRef,omitempty"`

	// caSecretRef names a Secret whose ca.crt holds the PEM certificates of the authorities to trust, instead of the
	// operator's own, for this delivery.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// SecretReference names a Secret in the namespace of the object.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// WebhookDeliveryStatus is the story of a delivery.
//
// +structType=atomic
type WebhookDeliveryStatus struct {
	// conditions are Delivered and Undeliverable. Both are there as soon as the operator has written a status, at most
	// one is True, and that one is final until the delivery is made again. While both are False, their reason says why,
	// and the message of Delivered says it to people.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status answers; -1 before the operator has written one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// phase is the state in one word, for --field-selector status.phase=…: Pending before the first attempt, Retrying
	// between attempts, and Delivered or Undeliverable in the end.
	// +optional
	// +kubebuilder:validation:Enum=Pending;Retrying;Delivered;Undeliverable
	Phase Phase `json:"phase,omitempty"`

	// attempts are the requests made since the delivery was created, or last labelled to be made again; oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Attempts []Attempt `json:"attempts,omitempty"`

	// nextAttemptTime is the earliest time of the next attempt, which is made a moment later. Absent before the first
	// attempt and after the last.
	// +optional
	NextAttemptTime *metav1.MicroTime `json:"nextAttemptTime,omitempty"`

	// completionTime is when the delivery became Delivered or Undeliverable. To wait for either:
	// kubectl wait --for=jsonpath='{.status.completionTime}' whd/NAME
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// waitingSince is since when a Secret has been missing or unusable. The condition's reason and message say which one;
	// the operator looks at it again every 30 seconds at the latest, and gives up after --secret-wait-timeout.
	// +optional
	WaitingSince *metav1.Time `json:"waitingSince,omitempty"`

	// redeliveries counts how often the delivery was made again after it had ended, because it was labelled
	// webhookdelivery.dev/redeliver=true.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Redeliveries int32 `json:"redeliveries,omitempty"`

	// redeliverAccepted is true from when such a label was taken note of until the attempt that it asked for. The operator
	// takes the label away in between.
	// +optional
	RedeliverAccepted bool `json:"redeliverAccepted,omitempty"`
}

// Attempt is one request that was made, and what came of it.
type Attempt struct {
	// number counts the attempts from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Number int32 `json:"number"`

	// startTime is when the attempt began, before the name of the host was resolved.
	// +required
	StartTime metav1.MicroTime `json:"startTime"`

	// durationMilliseconds is how long the attempt took, up to the response header or the failure.
	// +required
	// +kubebuilder:validation:Minimum=0
	DurationMilliseconds int64 `json:"durationMilliseconds"`

	// statusCode is the HTTP status of the answer; absent when there was none.
	// +optional
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=999
	StatusCode int32 `json:"statusCode,omitempty"`

	// reason says why the attempt failed; absent when it did not. One of UnexpectedStatus, RedirectRefused, Timeout,
	// DNSError, ConnectionFailed, TLSError, InvalidResponse and ProxyError.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason Reason `json:"reason,omitempty"`

	// message says what came of the attempt to people. It never holds anything from the response but its status.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// WebhookDeliveryList is a list of WebhookDelivery.
//
// +kubebuilder:object:root=true
type WebhookDeliveryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty,omitzero"`
	Items           []WebhookDelivery `json:"items"`
}
