# Rapport. `make help` lists what there is.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOBUILD  := go build -buildvcs=false -trimpath -ldflags "-X main.release=$(VERSION)"
# The race detector needs a C compiler; CI has one, a bare machine may not.
RACE     := $(if $(shell command -v $${CC:-gcc} 2>/dev/null),-race,)
PACKAGES := ./...

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/rapport
	@mkdir -p bin
	$(GOBUILD) -o bin/rapport ./cmd/rapport

.PHONY: run
run: build ## build, then run a private Postgres and the server on http://127.0.0.1:8080
	@exec bin/rapport serve

.PHONY: demo
demo: build ## send believable conversations to the running server
	@exec bin/rapport demo

.PHONY: test
test: postgres format vet build ## everything that must pass
	@[ -n "$(RACE)" ] || echo "no C compiler: the tests run without the race detector (apt-get install gcc)"
	go test $(RACE) -vet=off -timeout 9m $$(go list $(PACKAGES) | grep -v -e /internal/chaos$$ -e /cmd/rapport$$)
	go test $(RACE) -vet=off -timeout 9m -parallel 4 ./cmd/rapport # by itself: each of its tests is a machine of its own, and mostly waits
	go test $(RACE) -vet=off -timeout 9m ./internal/chaos # alone: its senders notice a busy machine

.PHONY: format
format: ## check that everything is formatted
	@files=$$(gofmt -l .); \
	[ -z "$$files" ] || { echo "not formatted (gofmt -w): $$files"; exit 1; }

.PHONY: vet
vet: ## run go vet
	go vet $(PACKAGES)

.PHONY: lint
lint: vet bin/tools/staticcheck gosec alerts ## run staticcheck, gosec and promtool
	bin/tools/staticcheck $(PACKAGES)

# Not G304: the paths that we open are the operator's flags. The rigs and what makes
# conversations up are no part of a server; what gosec itself calls unsure is left out.
# Whatever else is meant as it is says so, with the reason: #nosec.
.PHONY: gosec
gosec: bin/tools/gosec ## look for what is unsafe, with gosec
	bin/tools/gosec -quiet -exclude-generated -confidence medium -exclude G304 -exclude-dir 'internal/(chaos|bench|conformance|demo)' \
	  -exclude-dir store/storetest -exclude-dir tools $(PACKAGES)

.PHONY: alerts
alerts: bin/tools/promtool ## check what deploy/prometheus has, and when each alert fires
	cd deploy/prometheus && ../../bin/tools/promtool check config --syntax-only prometheus.yml && \
	  ../../bin/tools/promtool check rules rapport.rules.yml && ../../bin/tools/promtool test rules rapport.rules.test.yml

.PHONY: test-jdbc
test-jdbc: postgres ## check what a JDBC client finds (Java, and Debian's libpostgresql-jdbc-java)
	@command -v java >/dev/null && [ -e /usr/share/java/postgresql.jar ] || \
	  { echo "Java or its driver for Postgres is missing: apt-get install default-jdk-headless libpostgresql-jdbc-java"; exit 1; }
	go test -count=1 -tags jdbc -run JDBC ./internal/bi

.PHONY: test-kinesis
test-kinesis: postgres bin/tools/kinesalite ## check streams against a Kinesis server of the npm registry (Node, and npm)
	go test -count=1 -tags kinesis -run Kinesis ./aggregator/export/stream

# Needs the Go vulnerability database: run it where that can be reached, before each release and
# daily, or name a copy with VULNDB=file:///path.
.PHONY: vulncheck
vulncheck: bin/tools/govulncheck ## look for known vulnerabilities in what we call (VULNDB)
	bin/tools/govulncheck $(if $(VULNDB),-db $(VULNDB)) $(PACKAGES) # all: main calls its commands by reflection

.PHONY: licences
licences: ## check that every module in the binary has a licence that may be there
	go test -count=1 -run Licence ./deploy

.PHONY: generate
generate: bin/tools/sqlc ## generate store/internal/dbsqlc from migrations/ and queries/, and docs/sql.md from the database
	bin/tools/sqlc generate
	@mkdir -p bin
	go run ./internal/sqldocs/cmd >bin/sql.md && mv bin/sql.md docs/sql.md

.PHONY: check-generated
check-generated: bin/tools/sqlc ## check that nothing generated is stale
	bin/tools/sqlc diff
	@mkdir -p bin
	go run ./internal/sqldocs/cmd >bin/sql.md && diff docs/sql.md bin/sql.md

.PHONY: bench
bench: ## measure deliveries per second and their latency, as ratios
	go run ./internal/bench

.PHONY: bench-queries
bench-queries: ## measure questions on 1 million sessions, as ratios: SESSIONS, DATA (keeps them for the next time), ONLY
	go run ./internal/bench/queries $(if $(SESSIONS),-sessions $(SESSIONS)) $(if $(DATA),-data $(DATA)) $(if $(ONLY),-only '$(ONLY)')

.PHONY: bench-live
bench-live: build ## measure the memory of live streams (STREAMS), and how soon an event is with those who hear it
	go run ./internal/bench/live $(if $(STREAMS),-streams $(STREAMS))

.PHONY: bench-rules
bench-rules: ## measure what the shipped rules cost, and what a destination that hangs costs the others, as ratios
	go run ./internal/bench -rules deploy/rules/rules.yaml

.PHONY: bench-page
bench-page: ## measure how soon a page can be used: PAGE of the server at URL, or of the log that bench-queries keeps in DATA
	go run ./internal/browser/cmd $(if $(DATA),-data $(DATA)) $(if $(URL),-url '$(URL)') $(if $(PAGE),-page '$(PAGE)')

.PHONY: screenshots
screenshots: postgres ## write pictures of every page, light and dark, wide and narrow, into DIR (bin/screenshots)
	@mkdir -p $(or $(DIR),bin/screenshots)
	go test -count=1 -run EveryPage ./internal/browser -args -screenshots $(abspath $(or $(DIR),bin/screenshots))

.PHONY: bench-archive
bench-archive: build ## archive a log of 1 million events, restore it, prove and compare it, and measure the archive: SESSIONS
	go run ./internal/bench/archive $(if $(SESSIONS),-sessions $(SESSIONS))

.PHONY: hostile
hostile: ## measure deliveries beside 10,000 wrong signatures a second
	go run ./internal/bench -hostile

.PHONY: chaos
chaos: build ## kill, freeze, cut and fill what there is, and prove that nothing is lost: SCENARIO, ROUNDS, SEED, FOR
	@exec go run ./internal/chaos/cmd $(if $(SCENARIO),-scenario $(SCENARIO)) $(if $(ROUNDS),-rounds $(ROUNDS)) \
	  $(if $(SEED),-seed $(SEED)) $(if $(FOR),-for $(FOR))

.PHONY: fuzz
fuzz: ## fuzz everything that parses, FUZZTIME (30s) each
	@for pkg in $$(go list $(PACKAGES)); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} $$pkg || exit 1; done; done

.PHONY: nightly
nightly: ## fuzz for hours (FUZZTIME, 15m, each), and make up 100,000 hostile requests
	$(MAKE) fuzz FUZZTIME=$${FUZZTIME:-15m}
	go test ./api -run TestHostileRequests -hostile 100000 -timeout 3h

.PHONY: postgres
postgres: # says how to get Postgres's server programs where they are missing
	@sh deploy/has-postgres.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

# Building promtool takes ten minutes of a processor, for all that Prometheus can
# discover: Debian's will do. It is unpacked, for the package would start a server.
bin/tools/promtool:
	@mkdir -p bin/tools
	@if command -v promtool >/dev/null; then ln -sf "$$(command -v promtool)" $@; else \
	  rm -rf bin/tools/prometheus && mkdir bin/tools/prometheus && cd bin/tools/prometheus && \
	  apt-get -q -o APT::Sandbox::User=root download prometheus && dpkg -x prometheus_*.deb . && mv usr/bin/promtool .. && cd .. && rm -rf prometheus; \
	  fi || { echo "promtool is missing: it comes with Prometheus"; exit 1; }

# Its versions and their checksums stand in package-lock.json.
bin/tools/kinesalite: KINESALITE := aggregator/export/stream/testdata/kinesalite
bin/tools/kinesalite: $(wildcard aggregator/export/stream/testdata/kinesalite/*)
	@command -v npm >/dev/null || { echo "Node's npm is missing: apt-get install nodejs npm"; exit 1; }
	@rm -rf $@ $@.new && mkdir -p bin/tools && cp -r $(KINESALITE) $@.new
	@cd $@.new && npm ci --ignore-scripts --no-audit --no-fund && cd - >/dev/null && mv $@.new $@

# The versions stand in tools/go.mod, apart from the project's.
bin/tools/sqlc: TOOL := github.com/sqlc-dev/sqlc/cmd/sqlc
bin/tools/staticcheck: TOOL := honnef.co/go/tools/cmd/staticcheck
bin/tools/gosec: TOOL := github.com/securego/gosec/v2/cmd/gosec
bin/tools/govulncheck: TOOL := golang.org/x/vuln/cmd/govulncheck
bin/tools/%: tools/go.mod tools/go.sum
	@mkdir -p bin/tools
	cd tools && go build -buildvcs=false -o ../$@ $(TOOL)
