// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const tag = "registry.example/operator:v1.2.3"

var release = options{name: tag, about: about{version: "v1.2.3", revision: "abc", created: time.Unix(1800000000, 0).UTC()}}

// binaries writes a file for each platform, with the platform as its content, and returns the arguments that name them.
func binaries(t *testing.T, platforms ...string) (arguments []string) {
	t.Helper()
	for _, platform := range platforms {
		file := filepath.Join(t.TempDir(), "manager")
		if err := os.WriteFile(file, []byte(platform), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, platform+"="+file)
	}
	return arguments
}

// writtenLayout makes a layout of both platforms and reads back its one index.
func writtenLayout(t *testing.T) v1.ImageIndex {
	t.Helper()
	o := release
	o.layout = filepath.Join(t.TempDir(), "image")
	for range 2 { // the second replaces the first
		if err := run(o, binaries(t, "linux/amd64", "linux/arm64")); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(o.layout)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the layout names %d manifests, want the index alone", len(manifest.Manifests))
	}
	if ref := manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"]; ref != "v1.2.3" {
		t.Errorf("the layout names its index %q", ref)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// files describes what is in an image, by path.
func files(t *testing.T, image v1.Image) (described map[string]string, contents map[string]string) {
	t.Helper()
	described, contents = map[string]string{}, map[string]string{}
	content := mutate.Extract(image)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return described, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := "/" + strings.TrimSuffix(header.Name, "/")
		described[path] = fmt.Sprintf("%s %d:%d", header.FileInfo().Mode(), header.Uid, header.Gid)
		contents[path] = string(data)
	}
}

func TestLayoutHoldsWhatTheDockerfileDescribes(t *testing.T) {
	index := writtenLayout(t)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, descriptor := range manifest.Manifests {
		platform := descriptor.Platform.String()
		platforms = append(platforms, platform)
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the image for %s says it is for %s", platform, got)
		}
		if !config.Created.Equal(release.about.created) {
			t.Errorf("%s: created %s", platform, config.Created)
		}
		if diff := cmp.Diff(dockerfile(t, release.about), config.Config); diff != "" {
			t.Errorf("%s: configuration (-Dockerfile +image):\n%s", platform, diff)
		}
		described, contents := files(t, image)
		want := map[string]string{
			"/etc":                               "drwxr-xr-x 0:0",
			"/etc/ssl":                           "drwxr-xr-x 0:0",
			"/etc/ssl/certs":                     "drwxr-xr-x 0:0",
			"/etc/ssl/certs/ca-certificates.crt": "-rw-r--r-- 0:0",
			"/manager":                           "-rwxr-xr-x 0:0",
		}
		if diff := cmp.Diff(want, described); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", platform, diff)
		}
		if contents["/manager"] != platform {
			t.Errorf("the image for %s has the binary of %s", platform, contents["/manager"])
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

// dockerfile is the configuration that the last stage of the Dockerfile gives its image.
func dockerfile(t *testing.T, a about) v1.Config {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, stage, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		t.Fatal("the Dockerfile has no stage FROM scratch")
	}
	config := v1.Config{WorkingDir: "/", Labels: map[string]string{}}
	expand := strings.NewReplacer("${VERSION}", a.version, "${REVISION}", a.revision, `"`, "")
	for line := range strings.SplitSeq(strings.ReplaceAll(stage, "\\\n", " "), "\n") {
		instruction, rest, _ := strings.Cut(line, " ")
		switch rest = expand.Replace(rest); instruction {
		case "USER":
			config.User = rest
		case "ENTRYPOINT":
			config.Entrypoint = []string{strings.Trim(rest, "[]")}
		case "LABEL":
			for pair := range strings.FieldsSeq(rest) {
				key, value, _ := strings.Cut(pair, "=")
				config.Labels[key] = value
			}
		}
	}
	return config
}

func TestTarballLoads(t *testing.T) {
	o := release
	o.tar = filepath.Join(t.TempDir(), "image.tar")
	if err := run(o, binaries(t, "linux/arm64")); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(o.tar, &ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	if _, contents := files(t, image); contents["/manager"] != "linux/arm64" {
		t.Errorf("the binary is %q", contents["/manager"])
	}
}

func TestSameInputSameDigest(t *testing.T) {
	digest := func(index v1.ImageIndex) v1.Hash {
		t.Helper()
		hash, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	first, second := digest(writtenLayout(t)), digest(writtenLayout(t))
	if first != second {
		t.Errorf("%s, and then %s", first, second)
	}
}

// TestRoots looks for an authority that everyone needs, and for those that are trusted with a constraint only.
func TestRoots(t *testing.T) {
	roots, err := publicRoots()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		t.Fatal("no certificates")
	}
	if !bytes.Contains(roots, []byte("# CN=ISRG Root X1,")) {
		t.Error("no ISRG Root X1")
	}
	want := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if root.Constraint == nil {
			want.AddCert(certificate)
		} else if bytes.Contains(roots, []byte("# "+certificate.Subject.String()+"\n")) {
			t.Errorf("%s is trusted without its constraint", certificate.Subject)
		}
	}
	if !pool.Equal(want) {
		t.Error("not the unconstrained authorities of the bundle")
	}
}

func TestRefusals(t *testing.T) {
	both := binaries(t, "linux/amd64", "linux/arm64")
	for name, tc := range map[string]struct {
		change    func(*options)
		arguments []string
		want      string
	}{
		"no binary":         {func(o *options) { o.tar = "x" }, nil, "usage"},
		"no output":         {func(*options) {}, both, "usage"},
		"tar of two":        {func(o *options) { o.tar = "x" }, both, "-tar takes one platform"},
		"no platform":       {func(o *options) { o.tar = "x" }, []string{"bin/manager"}, "is not PLATFORM=BINARY"},
		"no architecture":   {func(o *options) { o.tar = "x" }, []string{"linux=bin/manager"}, "is not PLATFORM=BINARY"},
		"a missing binary":  {func(o *options) { o.tar = "x" }, []string{"linux/amd64=none"}, "no such file"},
		"a name with a CAP": {func(o *options) { o.tar, o.name = "x", "Operator:v1" }, both[:1], "Operator"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			o := release
			tc.change(&o)
			if err := run(o, tc.arguments); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
