#!/usr/bin/env bash
# Copyright The WebhookDelivery Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz test for the given time, one after another: `go test -fuzz` takes one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: hack/fuzz.sh TIME}

files=$(git grep --untracked -lE '^func Fuzz' -- '*_test.go' || true)
if [ -z "$files" ]; then
	echo "no fuzz tests"
	exit 1
fi
for file in $files; do
	for name in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file"); do
		echo "== $name in $(dirname "$file")"
		go -C "$(dirname "$file")" test -run='^$' -fuzz="^$name\$" -fuzztime="$time" -fuzzminimizetime=10x .
	done
done
