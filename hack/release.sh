#!/usr/bin/env bash
# Copyright The WebhookDelivery Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds all that a release consists of into dist/. ALLOW_DIRTY=1 builds from what is not committed, for trying it out.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: hack/release.sh VERSION REPOSITORY} repository=${2:?usage: hack/release.sh VERSION REPOSITORY}

refuse() {
	echo "release: $*" >&2
	exit 1
}

number='(0|[1-9][0-9]*)' identifier='(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)'
semantic="^v$number\\.$number\\.$number(-$identifier(\\.$identifier)*)?\$"
[[ $version =~ $semantic ]] || refuse "'$version' is not a semantic version: make release VERSION=v1.2.3 or v1.2.3-rc.1"
if [ -z "${ALLOW_DIRTY:-}" ]; then
	changed=$(git status --porcelain)
	[ -z "$changed" ] || refuse "not everything is committed; ALLOW_DIRTY=1 builds all the same, for a trial:
$changed"
	tagged=$(git rev-parse --verify --quiet "$version^{commit}" || true)
	[ -z "$tagged" ] || [ "$tagged" = "$(git rev-parse HEAD)" ] || refuse "$version is another commit, ${tagged:0:12}"
	[[ $version == *-* ]] || grep -q "^## \[${version#v}\] - " CHANGELOG.md ||
		refuse "CHANGELOG.md has no section [${version#v}] with a date"
fi

rm -rf dist
make --no-print-directory VERSION="$version" IMG="$repository:$version" release-images build-installer chart sbom
if [ "$(go env GOHOSTOS)" = linux ]; then
	stamped=$("bin/linux-$(go env GOHOSTARCH)/manager" --version)
	[ "$stamped" = "$version" ] || refuse "the manager says that it is $stamped"
fi
cd dist
files=$(find . -maxdepth 1 -type f | sed 's|^\./||' | sort)
if command -v sha256sum >/dev/null; then sum=sha256sum; else sum='shasum -a 256'; fi
# shellcheck disable=SC2086 # names without spaces
$sum $files >checksums.txt

echo
echo "Release $version in dist/:"
# shellcheck disable=SC2086
du -h $files checksums.txt | awk '{printf "  %6s  %s\n", $1, $2}'
echo "          image/: the OCI layout of $(cat image.txt)"
