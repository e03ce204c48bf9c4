// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/webhookdelivery/operator/hack/virtualtime"
)

// TestRootsReload changes a bundle in each of the ways in which files change.
func TestRootsReload(t *testing.T) {
	first, second := newAuthority("first"), newAuthority("second")
	overwrite := func(t *testing.T, name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(t *testing.T, name string, data []byte) {
		t.Helper()
		overwrite(t, name+".new", data)
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		change  func(t *testing.T, dir string)
		changed bool
		reports int
	}{
		"overwritten":  {func(t *testing.T, dir string) { overwrite(t, dir+"/ca.crt", second.pem) }, true, 0},
		"renamed over": {func(t *testing.T, dir string) { rename(t, dir+"/ca.crt", second.pem) }, true, 0},
		"extended": {func(t *testing.T, dir string) {
			overwrite(t, dir+"/ca.crt", append(bytes.Clone(first.pem), second.pem...))
		}, true, 0},
		"symbolic link swapped": {func(t *testing.T, dir string) { swapData(t, dir, second.pem) }, true, 0},
		"the same again":        {func(t *testing.T, dir string) { rename(t, dir+"/ca.crt", first.pem) }, false, 0},
		"untouched":             {func(*testing.T, string) {}, false, 0},
		"broken":                {func(t *testing.T, dir string) { overwrite(t, dir+"/ca.crt", []byte("abc")) }, false, 1},
		"empty":                 {func(t *testing.T, dir string) { overwrite(t, dir+"/ca.crt", nil) }, false, 1},
		"cut off": {func(t *testing.T, dir string) {
			overwrite(t, dir+"/ca.crt", append(bytes.Clone(first.pem), second.pem[:100]...))
		}, false, 1},
		"too large": {func(t *testing.T, dir string) {
			overwrite(t, dir+"/ca.crt", append(bytes.Clone(second.pem), make([]byte, maxBundle)...))
		}, false, 1},
		"removed": {func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/ca.crt"); err != nil {
				t.Fatal(err)
			}
		}, false, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			swapData(t, dir, first.pem)
			virtualtime.Test(t, func(t *testing.T) {
				var reports []error
				r, err := newRoots(dir+"/ca.crt", func(err error) { reports = append(reports, err) })
				if err != nil {
					t.Fatal(err)
				}
				before := r.current()
				tt.change(t, dir)
				time.Sleep(rootsInterval - 1)
				if r.current() != before {
					t.Error("read again before its time")
				}
				for range 3 {
					time.Sleep(rootsInterval)
					r.current()
				}
				if changed := r.current() != before; changed != tt.changed || len(reports) != tt.reports {
					t.Errorf("changed %t, reports %v", changed, reports)
				}
				// What breaks can be mended.
				if err := os.RemoveAll(dir + "/ca.crt"); err != nil {
					t.Fatal(err)
				}
				overwrite(t, dir+"/ca.crt", append(bytes.Clone(second.pem), testCA().pem...))
				broken := r.current()
				time.Sleep(rootsInterval)
				if r.current() == broken {
					t.Error("the next bundle is not read")
				}
			})
		})
	}
}

// swapData lays a file out as kubelet does: ca.crt -> ..data/ca.crt, where ..data -> a directory that is replaced.
func swapData(t *testing.T, dir string, data []byte) {
	t.Helper()
	version, err := os.MkdirTemp(dir, "..version")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(version, "ca.crt"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Base(version), dir+"/..data_tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/..data_tmp", dir+"/..data"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/ca.crt", dir+"/ca.crt"); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

// TestSendAfterReload is a bundle that changes while a connection is kept: what it no longer vouches for is not used.
func TestSendAfterReload(t *testing.T) {
	other := newAuthority("other")
	r := listen(t, "127.0.0.1:0", testCA().server(), answer(noContent))
	moved := listen(t, "127.0.0.1:0", other.server(), answer(noContent))
	s := newSender(t, nil)
	certificate, key := testCA().issue(time.Now().Add(time.Hour))
	expect := func(url string, material *TLS, want Class) {
		t.Helper()
		if got := s.Send(t.Context(), Request{ID: "1", URL: url, TLS: material}); got.Class != want {
			t.Errorf("%s: %s, want %s", got.Class, got.Message, want)
		}
	}
	client := &TLS{Certificate: certificate, Key: key}
	private := &TLS{CA: testCA().pem}
	expect(r.url, nil, Delivered)
	expect(r.url, client, Delivered)
	expect(r.url, private, Delivered)
	expect(moved.url, nil, TLSError)

	if err := os.WriteFile(s.cfg.CABundleFile, other.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	s.transports.roots.mu.Lock()
	s.transports.roots.checked = time.Time{} // as if rootsInterval had passed
	s.transports.roots.mu.Unlock()
	expect(moved.url, nil, Delivered)
	expect(moved.url, client, Delivered)
	expect(r.url, nil, TLSError)
	expect(r.url, client, TLSError)
	expect(r.url, private, Delivered)
	s.Close()
	expectNoClientGoroutines(t)
}
