// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image makes the operator's container image out of binaries that are already built, without a container
// engine: as a tarball of one platform that engines load, or as an OCI layout of several that `crane push` uploads. Its
// arguments are PLATFORM=BINARY, such as linux/arm64=bin/linux-arm64/manager.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type options struct {
	name    string // of the image, with its tag
	tar     string // where the tarball goes
	layout  string // where the OCI layout goes
	about   about
	created int64
}

func main() {
	var o options
	flag.StringVar(&o.name, "name", "webhook-delivery-operator:dev", "the image's name and tag")
	flag.StringVar(&o.tar, "tar", "", "write a tarball for docker load, ctr images import and kind load, of one platform")
	flag.StringVar(&o.layout, "layout", "", "write an OCI layout whose index lists every platform into this directory")
	flag.StringVar(&o.about.version, "version", "dev", "the label org.opencontainers.image.version")
	flag.StringVar(&o.about.revision, "revision", "", "the label org.opencontainers.image.revision, a commit")
	flag.Int64Var(&o.created, "created", 0, "the time of everything in the image, in seconds since 1970")
	flag.Parse()
	o.about.created = time.Unix(o.created, 0).UTC()
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o options, binaries []string) error {
	if len(binaries) == 0 || (o.tar == "" && o.layout == "") {
		return errors.New("usage: image -name NAME:TAG {-tar FILE | -layout DIRECTORY} PLATFORM=BINARY…")
	}
	ref, err := name.NewTag(o.name)
	if err != nil {
		return err
	}
	if o.tar != "" && len(binaries) > 1 {
		return errors.New("-tar takes one platform: engines load no more from a tarball")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, argument := range binaries {
		platform, binary, _ := strings.Cut(argument, "=")
		target, err := v1.ParsePlatform(platform)
		if err != nil || target.Architecture == "" || binary == "" {
			return fmt.Errorf("%q is not PLATFORM=BINARY", argument)
		}
		image, err := build(*target, binary, o.about)
		if err != nil {
			return fmt.Errorf("building the image for %s: %w", platform, err)
		}
		if o.tar != "" {
			if err := tarball.WriteToFile(o.tar, ref, image); err != nil {
				return fmt.Errorf("writing %s: %w", o.tar, err)
			}
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: target},
		})
	}
	if o.layout == "" {
		return nil
	}
	return writeLayout(o.layout, ref, index)
}

// writeLayout replaces the directory by a layout of the index, and prints the reference by which it is pulled later.
func writeLayout(dir string, ref name.Tag, index v1.ImageIndex) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": ref.TagStr(),
	}))
	if err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", ref, digest)
	return nil
}
