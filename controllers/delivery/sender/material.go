// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
)

// The material comes from whoever may create a Secret. These limits, far above what is in use, keep the arithmetic on
// it short: its cost grows with the cube of the length of an RSA key. crypto/tls has the same limit for what a peer
// sends.
const (
	maxKeyPEM         = 8 << 10
	maxCertificatePEM = 128 << 10
	maxCAPEM          = 512 << 10
	maxRSABits        = 8192
)

var errInvalidCA = errors.New("the CA is not a list of valid PEM certificates")

// isEmpty reports whether there is no material at all.
func (m *TLS) isEmpty() bool {
	return m == nil || len(m.Certificate) == 0 && len(m.Key) == 0 && len(m.CA) == 0
}

// digest identifies the material.
func (m *TLS) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{m.Certificate, m.Key, m.CA} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// addTo sets the client certificate and the authorities of a configuration. Its errors quote nothing of the material.
func (m *TLS) addTo(config *tls.Config) error {
	if len(m.Certificate) > 0 || len(m.Key) > 0 {
		certificate, err := m.keyPair()
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	if len(m.CA) > 0 {
		if len(m.CA) > maxCAPEM {
			return errors.New("the CA is larger than 512 KiB")
		}
		authorities, err := parseCertificates(m.CA)
		if err != nil {
			return errInvalidCA
		}
		config.RootCAs = x509.NewCertPool()
		for _, authority := range authorities {
			config.RootCAs.AddCert(authority)
		}
	}
	return nil
}

func (m *TLS) keyPair() (tls.Certificate, error) {
	if len(m.Key) > maxKeyPEM || len(m.Certificate) > maxCertificatePEM {
		return tls.Certificate{}, errors.New("the client key is larger than 8 KiB, or its certificate than 128 KiB")
	}
	pair, err := tls.X509KeyPair(m.Certificate, m.Key)
	if err != nil || oversized(pair.Leaf) {
		return tls.Certificate{}, errors.New("the client certificate and key are not a matching pair in PEM")
	}
	return pair, nil
}

// parseCertificates reads PEM in which text may stand between the certificates. Unlike x509.CertPool it refuses what it
// cannot read: a file that was cut off would otherwise pass with the certificates before the cut.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks := bytes.Count(data, []byte("-----BEGIN "))
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("there is a PEM block other than a certificate")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || oversized(certificate) {
			return nil, errors.New("there is a certificate that cannot be read")
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 || len(certificates) != blocks {
		return nil, errors.New("there is no certificate, or one that is cut off")
	}
	return certificates, nil
}

func oversized(certificate *x509.Certificate) bool {
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > maxRSABits
}
