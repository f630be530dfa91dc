# make check   before a commit: format, vet, lint, race tests, import rules, known vulnerabilities
# make test    everything, against real servers and clients; installs what it needs as root on Debian
# make bench   our CPU, latency and throughput beside haproxy and nginx
# make pgo     record the profile that the compiler optimizes the daemon by
# make fuzz    every fuzz target for FUZZTIME
# make image   the container image
# make demo    the product showing itself
GO       ?= go
FUZZTIME ?= 30s
IMAGE    ?= sallyport:latest
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: all build check fmt vet lint vulns docs test bench pgo fuzz image demo clean
all: build

build: ## one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sallyport ./cmd/sallyport

check: fmt vet lint
	$(GO) test -race -timeout 20m ./...
	@.ci/vulns

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "run gofmt -w on:" $$unformatted; exit 1; }

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(GOLANGCI_LINT) run

vulns:
	@.ci/vulns

docs: ## docs/ from the tables
	$(GO) test ./cmd/sallyport -run TestDocs -update

test:
	@.ci/install test
	@.ci/test

bench:
	@.ci/install bench
	$(GO) test ./internal/bench -run '^$$' -bench Proxies -benchtime 1x -timeout 20m

pgo: ## the profile that the compiler optimizes the daemon by
	$(GO) test -trimpath ./proxy -run '^$$' -bench Road -benchtime 8s -cpuprofile "$(CURDIR)/cmd/sallyport/default.pgo" -o /dev/null

fuzz:
	@.ci/fuzz $(FUZZTIME)

image:
	@.ci/image $(IMAGE) $(VERSION)

demo:
	$(GO) run ./cmd/sallyport demo

clean:
	rm -rf bin
