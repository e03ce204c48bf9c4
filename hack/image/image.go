// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	entrypoint = "/manager"
	rootsFile  = "/etc/ssl/certs/ca-certificates.crt" // where Go looks first
	user       = "65532:65532"
)

// about is what an image says of itself.
type about struct {
	version, revision string
	created           time.Time
}

func (a about) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "webhook-delivery-operator",
		"org.opencontainers.image.source":   "https://github.com/webhookdelivery/operator",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  a.version,
		"org.opencontainers.image.revision": a.revision,
	}
}

// build makes the image that the Dockerfile describes: FROM scratch, the authorities, the binary. The same input makes
// the same digest.
func build(platform v1.Platform, binary string, a about) (v1.Image, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	roots, err := publicRoots()
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant,
		Created: v1.Time{Time: a.created},
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: user, Entrypoint: []string{entrypoint}, WorkingDir: "/", Labels: a.labels(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring the image: %w", err)
	}
	for _, file := range []struct {
		name    string
		mode    int64
		content []byte
	}{{rootsFile, 0o644, roots}, {entrypoint, 0o755, program}} {
		if image, err = add(image, file.name, file.mode, file.content, a.created); err != nil {
			return nil, fmt.Errorf("adding %s: %w", file.name, err)
		}
	}
	return image, nil
}

// add puts one file on top of an image, as a layer of its own.
func add(image v1.Image, name string, mode int64, content []byte, modified time.Time) (v1.Image, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, dir := range parents(name) {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755, ModTime: modified}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	header := &tar.Header{Name: name[1:], Mode: mode, Size: int64(len(content)), ModTime: modified}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: modified}, CreatedBy: "hack/image: " + name},
	})
}

// parents are the directories above a file, outermost first and without the root.
func parents(name string) []string {
	dir := path.Dir(name)
	if dir == "/" {
		return nil
	}
	return append(parents(dir), dir)
}
