// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain lets the test binary run as the receivers of TestMemory, in a process of their own. It sets what net/http
// and crypto/x509 read from the environment, and only once: a proxy that does not exist, and the authorities of the
// system.
func TestMain(m *testing.M) {
	if os.Getenv(receiversEnv) != "" {
		serveGreedily()
		return
	}
	dir := must(os.MkdirTemp("", "sender"))
	must(0, os.WriteFile(dir+"/system.crt", systemCA().pem, 0o600))
	for name, value := range map[string]string{
		"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1",
		"SSL_CERT_FILE": dir + "/system.crt", "SSL_CERT_DIR": dir,
	} {
		must(0, os.Setenv(name, value))
	}
	code := m.Run()
	must(0, os.RemoveAll(dir))
	os.Exit(code)
}

// authority signs certificates for the receivers of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

var (
	testCA   = sync.OnceValue(func() authority { return newAuthority("test CA") })
	systemCA = sync.OnceValue(func() authority { return newAuthority("system CA") })
)

func newAuthority(name string) authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, &key.PublicKey, key))
	return authority{must(x509.ParseCertificate(der)), key, encodePEM("CERTIFICATE", der)}
}

// issue returns a certificate and its key in PEM, for the names and for clients too.
func (a authority) issue(notAfter time.Time, names ...string) (certificate, key []byte) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv6loopback},
		NotBefore:   time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key))
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
}

func (a authority) server(names ...string) *tls.Config {
	certificate, key := a.issue(time.Now().Add(time.Hour), names...)
	return &tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair(certificate, key))}}
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// newSender returns a Sender that trusts the test CA, may connect to loopback, and is closed with the test.
func newSender(t testing.TB, change func(*Config)) *Sender {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(bundle, testCA().pem, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		RequestTimeout: 5 * time.Second,
		UserAgent:      "test/1",
		AllowHTTP:      true,
		CABundleFile:   bundle,
		OnReloadError:  func(err error) { t.Errorf("reloading the CA bundle: %v", err) },
		AllowCIDRs:     prefixes("127.0.0.0/8", "::1/128"),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func prefixes(cidrs ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, cidr := range cidrs {
		parsed = append(parsed, netip.MustParsePrefix(cidr))
	}
	return parsed
}

// receiver accepts connections on a loopback address and counts them.
type receiver struct {
	addr string // host:port
	url  string

	stop func() // before the end of the test

	mu    sync.Mutex
	conns []net.Conn
}

// listen serves each connection by serve, over TLS where there is a configuration, until the test ends.
func listen(t testing.TB, address string, secure *tls.Config, serve func(net.Conn)) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{addr: listener.Addr().String(), url: "http://" + listener.Addr().String() + "/hook?token=q"}
	if secure != nil {
		r.url = "https" + strings.TrimPrefix(r.url, "http")
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.add(conn)
			serving.Go(func() {
				defer conn.Close()
				if secure != nil {
					conn = tls.Server(conn, secure)
				}
				serve(conn)
			})
		}
	})
	r.stop = sync.OnceFunc(func() {
		listener.Close()
		r.closeAll()
		serving.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

func (r *receiver) add(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conn)
}

func (r *receiver) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

func (r *receiver) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		conn.Close()
	}
}

// freePort returns a port that is free on every host.
func freePort(t testing.TB, hosts ...string) string {
	t.Helper()
	for range 100 {
		port, free := "0", true
		for _, host := range hosts {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if err != nil {
				free = false
				break
			}
			defer listener.Close()
			_, port, _ = net.SplitHostPort(listener.Addr().String())
		}
		if free {
			return port
		}
	}
	t.Fatalf("no port is free on all of %q", hosts)
	return ""
}

// answer serves HTTP requests with a fixed response and keeps the connection open.
func answer(response string) func(net.Conn) {
	return func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		for readRequest(reader) != nil {
			if _, err := io.WriteString(conn, response); err != nil {
				return
			}
		}
	}
}

// readRequest returns the next request with its body read into memory, or nil.
func readRequest(reader *bufio.Reader) *http.Request {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	return request
}

const noContent = "HTTP/1.1 204 No Content\r\n\r\n"

// hold keeps the connection open until the other side or the test closes it.
func hold(conn net.Conn) {
	_, _ = io.Copy(io.Discard, conn)
}

// send makes a request with a secret and checks what holds for every Result.
func send(t testing.TB, s *Sender, url string) Result {
	t.Helper()
	request := Request{ID: "id-1", URL: url, Body: []byte(`{"task_id":"1"}`), Secret: []byte(testSecret)}
	result := s.Send(t.Context(), request)
	if took := time.Since(result.Start); took > s.cfg.RequestTimeout+2*time.Second { // TestVirtualTime measures finely
		t.Errorf("Send took %s of %s", took, s.cfg.RequestTimeout)
	}
	if result.End.Before(result.Start) {
		t.Errorf("ended %s before it started %s", result.End, result.Start)
	}
	if result.Message == "" || clip(result.Message) != result.Message {
		t.Errorf("message %q", result.Message)
	}
	for _, secret := range []string{testSecret, "127.0.0", "::1", "hook", "token", "://"} {
		if strings.Contains(result.Message, secret) {
			t.Errorf("message %q contains %q", result.Message, secret)
		}
	}
	return result
}

const testSecret = "s3cr3t-value"

// expectNoClientGoroutines waits until nothing of a sender runs any more.
func expectNoClientGoroutines(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for {
		left := clientGoroutines()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left, the first:\n%s", len(left), left[0])
		}
		time.Sleep(time.Millisecond) // goroutines that end give no signal
	}
}

func clientGoroutines() []string {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		for _, of := range []string{
			"net/http.(*Transport)", "net/http.(*persistConn)", "net.(*sysDialer)", "net.(*Resolver)",
			"crypto/tls.(*Conn).clientHandshake", "sender.(*Sender)",
		} {
			if strings.Contains(stack, of) {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}

// dialFunc is a Config.Dialer.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// counter counts the bytes read from the connections of a dialer.
type counter struct {
	read atomic.Int64
}

func (c *counter) around(inner contextDialer) contextDialer {
	return dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := inner.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return countedConn{conn, c}, nil
	})
}

type countedConn struct {
	net.Conn
	counter *counter
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.counter.read.Add(int64(n))
	return n, err
}
