// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certificateLife is how long certificates are valid. They live with the process and are never renewed.
const certificateLife = 30 * 24 * time.Hour

// Authority is a certificate authority in memory. On the internet a receiver has a certificate of a public authority;
// this one serves networks without one, and tests.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes a new authority, valid from an hour ago.
func NewAuthority() (*Authority, error) {
	template, err := newTemplate("webhook receiver test authority")
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign
	a := &Authority{}
	a.certificate, a.key, err = issue(template, nil)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// PEM returns the authority's certificate. A client that trusts it, and nothing else, reaches only receivers of this
// authority: it is what the operator takes as --ca-bundle.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// ServerConfig returns the TLS configuration of a server with a new certificate for the hosts, which are IP addresses,
// names, or wildcards such as *.receiver.test.
func (a *Authority) ServerConfig(hosts ...string) (*tls.Config, error) {
	template, err := newTemplate("webhook receiver")
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	certificate, key, err := issue(template, a)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}},
	}, nil
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		BasicConstraintsValid: true,
	}, nil
}

// issue signs the template with the parent's key, or with its own if there is no parent.
func issue(template *x509.Certificate, parent *Authority) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("a key: %w", err)
	}
	if parent == nil {
		parent = &Authority{certificate: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, &key.PublicKey, parent.key)
	if err != nil {
		return nil, nil, fmt.Errorf("a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("a certificate: %w", err)
	}
	return certificate, key, nil
}
