#!/usr/bin/env bash
# Copyright The WebhookDelivery Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Checks what needs no human: generated files, go.mod files, format, lint, manifests, left-overs of scaffolding. It runs
# all checks, also after one has failed, and works on a tree with uncommitted changes. `make verify` builds the tools.
set -uo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=()

check() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$scratch/output" 2>&1; then
		echo "ok      $name ($((SECONDS - start)) s)"
	else
		echo "FAILED  $name ($((SECONDS - start)) s)"
		sed 's/^/        /' "$scratch/output"
		failed+=("$name")
	fi
}

# Leaves what was generated in place: it is what should be committed.
generated() {
	mkdir -p "$scratch/before"
	cp -R api config "$scratch/before/"
	make --no-print-directory generate || return
	local dir
	for dir in api config; do
		diff -ru "$scratch/before/$dir" "$dir" || {
			echo "generated files were out of date; they have been regenerated, commit them"
			return 1
		}
	done
}

tidy() { go -C "$1" mod tidy -diff; }

lint() { (cd "$1" && "$linter" run ./...); }

formatted() {
	local files
	files=$(git ls-files --cached --others --exclude-standard '*.go' | grep -v zz_generated | xargs gofmt -s -l) && [ -z "$files" ] || {
		echo "run make fmt for: $files"
		return 1
	}
}

kustomizations() {
	local file status=0
	for file in $(find config -name kustomization.yaml | sort); do
		if grep -q '^kind: Component' "$file"; then
			continue # builds only as part of another
		fi
		bin/tools/kustomize build "$(dirname "$file")" >/dev/null || status=1
	done
	return $status
}

# grep finds nothing (1), something (0), or fails (above 1).
absent() {
	git grep --untracked -nE "$1" -- . ':!hack/verify.sh'
	[ $? -eq 1 ]
}

linter=$PWD/bin/tools/golangci-lint
leftovers='TODO\(user\)|EDIT THIS FILE|INSERT ADDITIONAL|kubebuilder:scaffold|Foo is an example|@latest'

check "generated files are up to date" generated
for file in $(git ls-files --cached --others --exclude-standard '*go.mod'); do
	module=$(dirname "$file")
	check "$file is tidy" tidy "$module"
	if git ls-files --cached --others --exclude-standard "$module" | grep -q '\.go$'; then # others list tools only
		check "go vet in $module" go -C "$module" vet ./...
		check "golangci-lint in $module" lint "$module"
	fi
done
check "gofmt" formatted
check "helm lints the chart, and it makes what kustomize makes" go -C hack/chart test ./...
check "kustomize builds every directory of config" kustomizations
check "alerts, dashboard and runbooks" go -C hack/monitoring test -count=1 -trimpath -tags=remove_all_sd ./...
check "no left-overs of scaffolding, no floating versions" absent "$leftovers"

if [ ${#failed[@]} -gt 0 ]; then
	echo "${#failed[@]} of the checks failed"
	exit 1
fi
