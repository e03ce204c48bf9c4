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

# Modules of their own are not part of ./...
lint_module() { (cd "$1" && ../../bin/tools/golangci-lint run ./...); }

tidy() { go -C "$1" mod tidy -diff; }

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

leftovers='TODO\(user\)|EDIT THIS FILE|INSERT ADDITIONAL|kubebuilder:scaffold|Foo is an example|@latest'

check "generated files are up to date" generated
check "go.mod is tidy" tidy .
check "hack/admission/go.mod is tidy" tidy hack/admission
check "hack/tools/go.mod is tidy" tidy hack/tools
check "hack/controlplane/build/go.mod is tidy" tidy hack/controlplane/build
check "hack/image/go.mod is tidy" tidy hack/image
check "hack/chart/go.mod is tidy" tidy hack/chart
check "hack/monitoring/go.mod is tidy" tidy hack/monitoring
check "hack/gitops/go.mod is tidy" tidy hack/gitops
check "gofmt" formatted
check "go vet" go vet ./...
check "go vet of hack/gitops" go -C hack/gitops vet ./...
check "golangci-lint" bin/tools/golangci-lint run ./...
check "golangci-lint in hack/image" lint_module hack/image
check "golangci-lint in hack/chart" lint_module hack/chart
check "helm lints the chart, and it makes what kustomize makes" go -C hack/chart test ./...
check "kustomize builds every directory of config" kustomizations
check "alerts, dashboard and runbooks" go -C hack/monitoring test -count=1 -trimpath -tags=remove_all_sd ./...
check "no left-overs of scaffolding, no floating versions" absent "$leftovers"

if [ ${#failed[@]} -gt 0 ]; then
	echo "${#failed[@]} of the checks failed"
	exit 1
fi
