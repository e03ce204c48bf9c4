// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const receiversEnv = "SENDER_TEST_RECEIVERS"

// greedy are responses that hold a sender at its largest: each ends just before the limit, or the end, that the sender
// waits for.
var greedy = map[string]func() string{
	"one header": func() string {
		return "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader-1<<10)
	},
	"many headers": func() string {
		head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
		for i := range maxHeaderLines - 1 {
			fmt.Fprintf(head, "%x:%s\r\n", i, strings.Repeat("x", maxResponseHeader/maxHeaderLines-8))
		}
		return head.String()
	},
	"body": func() string {
		return "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxDrain-1)
	},
}

// greedyHandshakes are TLS configurations, and how many bytes such a server sends before it stops.
var greedyHandshakes = map[string]struct {
	config func() *tls.Config
	limit  int
}{
	"certificates": {
		config: func() *tls.Config {
			config := testCA().server()
			chain := &config.Certificates[0]
			for range 16 {
				chain.Certificate = append(chain.Certificate, largeCertificate(12<<10))
			}
			return config
		},
		limit: maxHandshake - 1,
	},
	"ticket": {
		config: func() *tls.Config {
			config := testCA().server()
			config.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
				return make([]byte, 60<<10), nil
			}
			return config
		},
		limit: maxResponseHeader + slack - 1,
	},
}

// largeCertificate returns one that means nothing.
func largeCertificate(size int) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(5), ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, size)},
	}}
	return must(x509.CreateCertificate(rand.Reader, template, testCA().certificate, testCA().key.Public(), testCA().key))
}

// TestMemory has 1,000 requests under way at once, to receivers in a process of their own, so that the heap is the
// sender's alone.
func TestMemory(t *testing.T) {
	const limit = 200 << 20
	receivers := startReceivers(t)
	names := slices.AppendSeq(slices.Collect(maps.Keys(greedy)), maps.Keys(greedyHandshakes))
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := newSender(t, func(cfg *Config) {
				cfg.RequestTimeout = time.Minute
				cfg.MaxConnsPerEndpoint = greedyRequests
			})
			runtime.GC()
			before := heap()
			ctx, cancel := context.WithCancel(t.Context())
			var sending sync.WaitGroup
			for range greedyRequests {
				sending.Go(func() {
					request := Request{ID: "1", URL: receivers.URLs[name], Body: []byte("{}"), TLS: &TLS{CA: receivers.CA}}
					result := s.Send(ctx, request)
					if result.Class != Delivered && ctx.Err() == nil {
						t.Errorf("%s: %s", result.Class, result.Message)
					}
				})
			}
			grown := receivers.peakHeap(t, name) - before
			cancel()
			sending.Wait()
			t.Logf("%s: the heap grew by %d MiB", name, grown>>20)
			if grown > limit {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			s.Close()
			expectNoClientGoroutines(t)
		})
	}
}

// greedyRequests is how many are under way at once.
const greedyRequests = 1000

// peakHeap samples the heap, garbage that is not yet collected included, until shortly after all receivers of a kind
// have written what they write.
func (r *receiversProcess) peakHeap(t *testing.T, name string) int64 {
	t.Helper()
	full := make(chan string)
	go func() {
		r.out.Scan()
		full <- r.out.Text()
	}()
	peak, end := int64(0), (<-chan time.Time)(nil)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			peak = max(peak, heap())
		case got := <-full:
			if got != name {
				t.Fatalf("the receivers say %q", got)
			}
			end = time.After(300 * time.Millisecond)
		case <-end:
			return peak
		}
	}
}

func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// receiversProcess serves the greedy responses. It says where in a first line of JSON, and then the name of each
// response in a line when it has been written greedyRequests times.
type receiversProcess struct {
	URLs map[string]string
	CA   []byte
	out  *bufio.Scanner
}

func startReceivers(t *testing.T) *receiversProcess {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), receiversEnv+"=1")
	process.Stderr = os.Stderr
	stop, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop.Close()
		if err := process.Wait(); err != nil {
			t.Errorf("the receivers: %v", err)
		}
	})
	r := &receiversProcess{out: bufio.NewScanner(out)}
	r.out.Scan()
	if err := json.Unmarshal(r.out.Bytes(), r); err != nil {
		t.Fatalf("the receivers say %q: %v", r.out.Text(), err)
	}
	return r
}

// serveGreedily runs until its standard input is closed.
func serveGreedily() {
	r := receiversProcess{URLs: map[string]string{}, CA: testCA().pem}
	for name, response := range greedy {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))
		if name == "many headers" { // over TLS, to have all that is needed for it too
			listener = tls.NewListener(listener, testCA().server())
			r.URLs[name] = "https://" + listener.Addr().String() + "/"
		} else {
			r.URLs[name] = "http://" + listener.Addr().String() + "/"
		}
		go serveGreedy(listener, name, response())
	}
	for name, g := range greedyHandshakes {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))
		r.URLs[name] = "https://" + listener.Addr().String() + "/"
		go serveGreedyHandshake(listener, name, g.config(), g.limit)
	}
	fmt.Printf("%s\n", must(json.Marshal(r)))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// stoppingConn writes so many bytes, and no more.
type stoppingConn struct {
	net.Conn
	left    int
	stopped func()
}

func (c *stoppingConn) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(p[:c.left]); err == nil {
		c.stopped()
		hold(c.Conn)
	}
	return 0, net.ErrClosed
}

func serveGreedyHandshake(listener net.Listener, name string, config *tls.Config, limit int) {
	var stopped atomic.Int64
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = tls.Server(&stoppingConn{conn, limit, func() {
				if stopped.Add(1) == greedyRequests {
					fmt.Println(name)
				}
			}}, config).Handshake()
		}()
	}
}

func serveGreedy(listener net.Listener, name, response string) {
	var written atomic.Int64
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			readRequest(bufio.NewReader(conn))
			endless(conn, response, "")
			if written.Add(1) == greedyRequests {
				fmt.Println(name)
			}
			hold(conn)
		}()
	}
}
