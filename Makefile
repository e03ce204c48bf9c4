# Copyright The WebhookDelivery Authors.
# SPDX-License-Identifier: Apache-2.0

IMG ?= webhook-delivery-operator:dev
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REPOSITORY ?= ghcr.io/webhookdelivery/operator
OVERLAY ?= config/default
KUBECTL ?= kubectl
CONTAINER_TOOL ?= docker
FUZZTIME ?= 60s

# The images of make e2e beside the operator's.
e2e_archives = dist/e2e-receiver.tar dist/e2e-visitor.tar

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Try it (no cluster and no Docker needed)

.PHONY: demo
demo: build controlplane ## Watch deliveries on a real API server: succeed, retry, end and come again (about 2.5 min)
	go run ./hack/demo

.PHONY: playground
playground: build controlplane $(if $(PROMETHEUS),bin/tools/prometheus) ## The same, to try by hand until Ctrl-C [PROMETHEUS=1 for the alerts, too]
	go run ./hack/demo -stay $(if $(PROMETHEUS),-prometheus)

.PHONY: bench
bench: build controlplane ## Measure throughput, latency and memory [SCENARIO=name SECONDS=n N=objects]
	go run ./hack/bench $(harness_flags) $(ARGS)

.PHONY: chaos
chaos: build controlplane ## Kill and partition what runs, then look for lost and repeated deliveries [same variables]
	go run ./hack/chaos $(harness_flags) $(ARGS)

.PHONY: controlplane
controlplane: ## Get etcd, kube-apiserver and kubectl into bin/k8s (download, or a build of 5 to 15 min, once)
	@go run ./hack/controlplane/install

##@ Develop

.PHONY: build
build: ## Build bin/manager
	$(go_build) -o bin/manager .

.PHONY: run
run: ## Run the manager here, against the cluster of the current kubeconfig [ARGS=flags]
	go run . --metrics-bind-address=0 $(ARGS)

.PHONY: generate
generate: bin/tools/controller-gen ## Generate deep copies, apply configurations and the CRD from api/
	bin/tools/controller-gen object:headerFile=hack/boilerplate.go.txt \
		applyconfiguration:headerFile=hack/boilerplate.go.txt,omitToolVersion=true paths=./api/...
	bin/tools/controller-gen crd:omitToolVersion=true paths=./api/... output:crd:artifacts:config=config/crd/bases

.PHONY: fmt
fmt: ## Format the Go code
	git ls-files --cached --others --exclude-standard '*.go' | grep -v zz_generated | xargs gofmt -s -w

.PHONY: lint
lint: bin/tools/golangci-lint ## Run golangci-lint (building it takes about 2 min, once)
	bin/tools/golangci-lint run ./...

.PHONY: test
test: controlplane ## Run all tests, with the race detector, on a real API server where it matters
	go test -race -p=2 -timeout=9m $(ARGS) ./...
	for module in admission gitops image; do go -C hack/$$module test ./... || exit; done

.PHONY: e2e
e2e: OVERLAY = hack/e2e/operator
e2e: image $(e2e_archives) build-installer ## Try everything in the cluster of the current kubeconfig, about 8 min [E2E_LOAD='kind load image-archive']
	$(foreach archive,dist/image.tar $(e2e_archives),$(if $(E2E_LOAD),$(E2E_LOAD) $(archive) &&)) true
	go run ./hack/e2e -kubectl $(KUBECTL) $(ARGS)

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (60s)
	hack/fuzz.sh $(FUZZTIME)

.PHONY: verify
verify: bin/tools/controller-gen bin/tools/helm bin/tools/kustomize bin/tools/golangci-lint bin/tools/promtool controlplane ## Check all that review should not have to
	hack/verify.sh

.PHONY: vulncheck
vulncheck: bin/tools/govulncheck ## Look for known vulnerabilities that the code reaches (asks vuln.go.dev)
	@bin/tools/govulncheck ./... || { echo "vulncheck: failed; if vuln.go.dev was not reached, nothing is known" >&2; exit 1; }

.PHONY: sbom
sbom: bin/linux-amd64/manager bin/tools/cyclonedx-gomod ## Write dist/sbom.json, the image's modules by CycloneDX
	@mkdir -p dist
	bin/tools/cyclonedx-gomod bin -json -version $(VERSION) -output dist/sbom.json $<

.PHONY: clean
clean: ## Delete all that was built, bin/k8s too
	rm -rf bin dist

##@ Deploy (to the cluster of the current kubeconfig)

.PHONY: install
install: ## Install the CRD
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Delete the CRD, and with it every WebhookDelivery
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: build-installer ## Install everything [IMG=image COMPONENTS="fetch jobs …"]
	$(KUBECTL) apply --server-side -f dist/install.yaml

.PHONY: undeploy
undeploy: build-installer ## Delete everything but the CRD and the deliveries
	$(KUBECTL) delete --ignore-not-found -f dist/install.yaml -l app.kubernetes.io/component!=crd

.PHONY: docker-build
docker-build: ## Build the image IMG [PLATFORMS=linux/amd64,linux/arm64]
	$(CONTAINER_TOOL) build $(if $(PLATFORMS),--platform=$(PLATFORMS)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(revision) -t $(IMG) .

.PHONY: image
image: bin/image bin/linux-$(shell go env GOARCH)/manager ## Write dist/image.tar, the image IMG for docker load or ctr import: needs no Docker
	@mkdir -p dist
	bin/image $(image_flags) -name $(IMG) -tar dist/image.tar linux/$(shell go env GOARCH)=$(lastword $^)

.PHONY: build-installer
build-installer: bin/tools/kustomize ## Write dist/install.yaml for IMG, COMPONENTS and OVERLAY
	@rm -rf bin/overlay && mkdir -p bin/overlay dist
	@cd bin/overlay && ../../bin/tools/kustomize create --resources ../../$(OVERLAY) && \
		../../bin/tools/kustomize edit set image webhook-delivery-operator=$(IMG) && \
		for c in $(COMPONENTS); do ../../bin/tools/kustomize edit add component ../../config/components/$$c || exit; done
	bin/tools/kustomize build bin/overlay >dist/install.yaml

.PHONY: chart
chart: bin/tools/helm bin/tools/kustomize ## Write the Helm chart, made from config, as a package into dist/
	@mkdir -p dist
	@go -C hack/chart build -trimpath -buildvcs=false -o ../../bin/generate-chart .
	bin/generate-chart -modified $(created)
	bin/tools/helm package --version $(chart_version) --app-version $(VERSION) -d dist bin/chart/webhook-delivery-operator

.PHONY: release
release: bin/image bin/tools/helm bin/tools/kustomize bin/tools/cyclonedx-gomod ## Build a release into dist/ [VERSION=v1.2.3]
	@hack/release.sh $(VERSION) $(REPOSITORY)

.PHONY: release-images
release-images: bin/image bin/linux-amd64/manager bin/linux-arm64/manager
	@mkdir -p dist
	for arch in amd64 arm64; do bin/image $(image_flags) -name $(IMG) \
		-tar dist/webhook-delivery-operator-$(VERSION)-linux-$$arch.tar linux/$$arch=bin/linux-$$arch/manager || exit; done
	bin/image $(image_flags) -name $(IMG) -layout dist/image \
		linux/amd64=bin/linux-amd64/manager linux/arm64=bin/linux-arm64/manager >dist/image.txt

##@ Help

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# How every manager is built, and what every image says of itself.
go_build = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
revision = $(shell git rev-parse HEAD 2>/dev/null)
created = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
image_flags = -version $(VERSION) -revision '$(revision)' -created $(created)

# A chart's version must be semantic; that of a commit without a tag is not.
chart_version = $(if $(filter v%,$(VERSION)),$(patsubst v%,%,$(VERSION)),0.0.0-g$(VERSION))

.PHONY: always
bin/linux-%/manager: always
	GOOS=linux GOARCH=$* $(go_build) -o $@ .

bin/image: always
	@go -C hack/image build -trimpath -buildvcs=false -o ../../bin/image .

dist/e2e-receiver.tar: package = ./hack/receiver/cmd/receiver
dist/e2e-visitor.tar: package = ./hack/e2e/visitor

dist/e2e-%.tar: bin/image always
	@mkdir -p dist
	GOOS=linux CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/linux-$(shell go env GOARCH)/e2e-$* $(package)
	bin/image $(image_flags) -name webhook-delivery-e2e-$*:dev -tar $@ linux/$(shell go env GOARCH)=bin/linux-$(shell go env GOARCH)/e2e-$*

# What bench and chaos understand.
harness_flags = $(if $(SCENARIO),-scenario=$(SCENARIO)) $(if $(SECONDS),-seconds=$(SECONDS)) $(if $(N),-n=$(N))

# Tools, pinned by hack/tools/go.mod and built when they are first needed.
bin/tools/controller-gen: package = sigs.k8s.io/controller-tools/cmd/controller-gen
bin/tools/cyclonedx-gomod: package = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
bin/tools/golangci-lint: package = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/tools/govulncheck: package = golang.org/x/vuln/cmd/govulncheck
bin/tools/kustomize: package = sigs.k8s.io/kustomize/kustomize/v5

# Prometheus has a module of its own, and is built without its ways to find targets, which make up most of it.
bin/tools/promtool bin/tools/prometheus: bin/tools/%: hack/monitoring/go.mod hack/monitoring/go.sum
	@echo 'building $* (once)'
	@GOBIN='$(CURDIR)/bin/tools' go -C hack/monitoring install -trimpath -buildvcs=false -tags=remove_all_sd \
		github.com/prometheus/prometheus/cmd/$*
	@touch $@

bin/tools/%: hack/tools/go.mod hack/tools/go.sum
	@echo 'building $* (once)'
	@GOBIN='$(CURDIR)/bin/tools' go -C hack/tools install -trimpath -buildvcs=false $(package)
	@touch $@

# Not trimmed, so that it shares what go vet has compiled already.
bin/tools/helm: hack/chart/go.mod hack/chart/go.sum
	@echo 'building helm (once)'
	@GOBIN='$(CURDIR)/bin/tools' go -C hack/chart install -buildvcs=false helm.sh/helm/v4/cmd/helm
	@touch $@
