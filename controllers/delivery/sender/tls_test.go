// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// mutual is a receiver's configuration that asks for a client certificate of the authority.
func mutual(a authority) *tls.Config {
	config := a.server()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = x509.NewCertPool()
	config.ClientCAs.AddCert(a.certificate)
	return config
}

// lingering answers requests, and leaves time to read the alert after a handshake that failed.
func lingering(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok && secure.Handshake() != nil {
		hold(secure.NetConn())
		return
	}
	answer(noContent)(conn)
}

func TestVerification(t *testing.T) {
	ca, other := testCA(), newAuthority("other")
	with := func(certificate, key []byte) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair(certificate, key))}}
	}
	old := ca.server()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	tls12 := ca.server()
	tls12.MaxVersion = tls.VersionTLS12
	mail := ca.server()
	mail.NextProtos = []string{"imap"}
	named := ca.server("localhost.example")
	named.Certificates[0] = must(tls.X509KeyPair(issueNamed(ca, "elsewhere.example")))
	clientCert, clientKey := ca.issue(time.Now().Add(time.Hour))
	client := &TLS{Certificate: clientCert, Key: clientKey}
	foreignCert, foreignKey := other.issue(time.Now().Add(time.Hour))
	tests := map[string]struct {
		server   *tls.Config
		material *TLS
		want     Class
		message  string
	}{
		"bundle":  {server: ca.server(), want: Delivered},
		"system":  {server: systemCA().server(), want: Delivered},
		"TLS 1.2": {server: tls12, want: Delivered},
		"TLS 1.1": {
			server: old, want: TLSError, message: "remote error: tls: protocol version not supported",
		},
		"another protocol": {server: mail, want: TLSError, message: "remote error: tls: no application protocol"},
		"unknown authority": {
			server: other.server(), want: TLSError, message: "certificate signed by unknown authority",
		},
		"expired": {
			server: with(ca.issue(time.Now().Add(-time.Hour))), want: TLSError,
			message: "certificate has expired or is not yet valid",
		},
		"another host": {
			server: named, want: TLSError, message: "certificate is not valid for the host of the URL",
		},
		"too many certificates": {
			server: greedyHandshakes["certificates"].config(), want: TLSError, message: "the TLS handshake failed",
		},
		"too large a ticket": {
			server: greedyHandshakes["ticket"].config(), want: InvalidResponse, message: invalidResponse,
		},
		"private CA": {server: other.server(), material: &TLS{CA: other.pem}, want: Delivered},
		"private CA only": {
			server: ca.server(), material: &TLS{CA: other.pem}, want: TLSError,
			message: "certificate signed by unknown authority",
		},
		"private CA, not system": {
			server: systemCA().server(), material: &TLS{CA: other.pem}, want: TLSError,
			message: "certificate signed by unknown authority",
		},
		"empty material":            {server: ca.server(), material: &TLS{}, want: Delivered},
		"client certificate":        {server: mutual(ca), material: client, want: Delivered},
		"no client certificate":     {server: mutual(ca), want: TLSError, message: "remote error: tls: certificate required"},
		"client certificate unused": {server: ca.server(), material: client, want: Delivered},
		"client certificate and private CA": {
			server: mutual(other), material: &TLS{Certificate: foreignCert, Key: foreignKey, CA: other.pem}, want: Delivered,
		},
		"client certificate of another authority": {
			server: mutual(ca), material: &TLS{Certificate: foreignCert, Key: foreignKey}, want: TLSError,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := listen(t, "127.0.0.1:0", tt.server, lingering)
			s := newSender(t, nil)
			result := s.Send(t.Context(), Request{ID: "1", URL: r.url, Body: []byte("{}"), TLS: tt.material})
			if result.Class != tt.want || tt.message != "" && result.Message != tt.message {
				t.Errorf("%s: %s, want %s: %s", result.Class, result.Message, tt.want, tt.message)
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

// issueNamed returns a certificate for a name only, and none of the addresses of loopback.
func issueNamed(a authority, name string) (certificate, key []byte) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
	}, a.certificate, &private.PublicKey, a.key))
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
}

// TestSecretNotSentUnverified looks at all that reaches a receiver whose certificate does not verify.
func TestSecretNotSentUnverified(t *testing.T) {
	read := make(chan []byte, 1)
	r := listen(t, "127.0.0.1:0", newAuthority("unknown").server(), func(conn net.Conn) {
		all, _ := io.ReadAll(conn)
		read <- all
	})
	s := newSender(t, nil)
	if result := send(t, s, r.url); result.Class != TLSError {
		t.Errorf("%+v", result)
	}
	if got := <-read; len(got) > 0 {
		t.Errorf("%d bytes were sent", len(got))
	}
}

func TestMaterial(t *testing.T) {
	certificate, key := testCA().issue(time.Now().Add(time.Hour))
	_, otherKey := testCA().issue(time.Now().Add(time.Hour))
	giant := giantRSA(t)
	tests := map[string]struct {
		material TLS
		want     bool // usable
	}{
		"pair":      {TLS{Certificate: certificate, Key: key}, true},
		"authority": {TLS{CA: testCA().pem}, true},
		"authorities with text": {
			TLS{CA: []byte("# one\n" + string(testCA().pem) + "\n# two\n" + string(certificate) + "end\n")}, true,
		},
		"certificate without a key": {TLS{Certificate: certificate}, false},
		"key without a certificate": {TLS{Key: key}, false},
		"another key":               {TLS{Certificate: certificate, Key: otherKey}, false},
		"swapped":                   {TLS{Certificate: key, Key: certificate}, false},
		"no PEM":                    {TLS{CA: []byte("abc")}, false},
		"white space":               {TLS{CA: []byte("\n")}, false},
		"authority cut off": {
			TLS{CA: append(bytes.Clone(testCA().pem), certificate[:len(certificate)/2]...)}, false,
		},
		"authority not DER":         {TLS{CA: encodePEM("CERTIFICATE", []byte("abc"))}, false},
		"key among the authorities": {TLS{CA: append(bytes.Clone(testCA().pem), key...)}, false},
		"giant authority":           {TLS{CA: giant}, false},
		"too many authorities":      {TLS{CA: bytes.Repeat(testCA().pem, 1200)}, false},
		"too much of a key": {
			TLS{Certificate: certificate, Key: append(bytes.Repeat([]byte("\n"), 8<<10), key...)}, false,
		},
		"too much of a certificate": {
			TLS{Certificate: append(bytes.Repeat([]byte("\n"), 128<<10), certificate...), Key: key}, false,
		},
		"good pair, bad authorities": {TLS{Certificate: certificate, Key: key, CA: []byte("abc")}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.material.addTo(&tls.Config{})
			if (err == nil) != tt.want {
				t.Errorf("error %v, want usable %t", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "abc") || strings.Contains(err.Error(), "BEGIN")) {
				t.Errorf("error %v quotes the material", err)
			}
		})
	}
}

// giantRSA returns a certificate with an RSA key of 32768 bits, made up: to verify a signature with it would take
// seconds.
func giantRSA(t *testing.T) []byte {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 32767)
	n.SetBit(n, 0, 1)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(4), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}, testCA().certificate, &rsa.PublicKey{N: n, E: 1<<31 - 1}, testCA().key)
	if err != nil {
		t.Fatal(err)
	}
	return encodePEM("CERTIFICATE", der)
}

// TestTransports is how connections are shared between requests with TLS material.
func TestTransports(t *testing.T) {
	r := listen(t, "127.0.0.1:0", testCA().server(), func(conn net.Conn) { answer(noContent)(conn) })
	s := newSender(t, nil)
	built, build := 0, s.transports.build
	s.transports.build = func(trust *x509.CertPool, material *TLS) (*http.Transport, error) {
		built++
		return build(trust, material)
	}
	expect := func(material *TLS, connections int) {
		t.Helper()
		result := s.Send(t.Context(), Request{ID: "1", URL: r.url, Body: []byte("{}"), TLS: material})
		if result.Class != Delivered || r.accepted() != connections {
			t.Fatalf("%+v; %d connections, want %d", result, r.accepted(), connections)
		}
	}
	certificate, key := testCA().issue(time.Now().Add(time.Hour))
	variant := func(i int) *TLS { return &TLS{CA: append(bytes.Clone(testCA().pem), strings.Repeat("#\n", i)...)} }
	expect(nil, 1)
	expect(nil, 1)
	expect(&TLS{}, 1)
	expect(variant(0), 2)
	expect(variant(0), 2)
	expect(&TLS{CA: testCA().pem, Certificate: certificate, Key: key}, 3)
	expect(&TLS{Certificate: certificate, Key: key}, 4)
	expect(&TLS{CA: testCA().pem, Certificate: certificate, Key: key}, 3+1)
	expect(nil, 4)
	if built != 4 {
		t.Errorf("%d transports were built", built)
	}

	for i := range maxTransports - 1 { // variant(0) is used again, the two with certificates are not
		expect(variant(0), 4+i)
		expect(variant(i+1), 5+i)
	}
	if n := s.transports.recent.Len(); n != maxTransports || len(s.transports.byKey) != n {
		t.Errorf("%d transports by age, %d by key", n, len(s.transports.byKey))
	}
	expect(nil, 3+maxTransports)
	expect(variant(0), 3+maxTransports)
	expect(&TLS{Certificate: certificate, Key: key}, 4+maxTransports) // its transport was evicted
	s.Close()
	expectNoClientGoroutines(t)
}

// TestInvalidMaterialNotKept is material that cannot be used: it takes no place.
func TestInvalidMaterialNotKept(t *testing.T) {
	s := newSender(t, nil)
	for range 3 {
		result := s.Send(t.Context(), Request{ID: "1", URL: "https://127.0.0.1:8443/", TLS: &TLS{CA: []byte("abc")}})
		if result.Class != InvalidTLS || result.Message != errInvalidCA.Error() {
			t.Errorf("%+v", result)
		}
	}
	if n := s.transports.recent.Len(); n != 0 {
		t.Errorf("%d transports", n)
	}
	for class, material := range map[Class]*TLS{ConnectionFailed: {CA: testCA().pem}, InvalidTLS: {Key: testCA().pem}} {
		result := s.Send(t.Context(), Request{ID: "1", URL: "https://127.0.0.1:1024/", TLS: material})
		if result.Class != class {
			t.Errorf("%+v, want %s", result, class)
		}
	}
}

// TestSessionResumption is a second connection to a receiver, without a full handshake.
func TestSessionResumption(t *testing.T) {
	resumed := make(chan bool, 2)
	r := listen(t, "127.0.0.1:0", testCA().server(), func(conn net.Conn) {
		readRequest(bufio.NewReader(conn))
		resumed <- conn.(*tls.Conn).ConnectionState().DidResume
		_, _ = io.WriteString(conn, "HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
	})
	s := newSender(t, nil)
	for i, want := range []bool{false, true} {
		if result := send(t, s, r.url); result.Class != Delivered {
			t.Fatalf("%+v", result)
		}
		if got := <-resumed; got != want {
			t.Errorf("connection %d resumed: %t", i, got)
		}
	}
}
