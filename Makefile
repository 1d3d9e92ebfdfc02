# Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# The suite mostly waits for services.
JOBS ?= 3
DEMO_ARGS ?=
BENCH_ARGS ?=
FIGURES ?= gateway-votes gateway-seen gateway-sockets
CHAOS_ARGS ?=
HOSTILE_ARGS ?=
PLATFORMS_ARGS ?=
PYTHONS_ARGS ?=
AUDIT_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_ARGS ?=
# The modules with services come first: the many short ones fill the gaps at the end.
SUITES := $(wildcard tests/faults tests/hostile tests/acceptance tests/integration tests/oracle tests/fuzz tests/unit)
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 >/dev/null

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo demo-tally test unit bench bench-compare bench-gateway bench-tally screenshots installs long-tally long-roll chaos hostile fuzz adopt brokers junk platforms pythons helm audit lint format lock stack-up stack-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamps hold digests, not times, so that a checkout that only touches files costs nothing.
setup: ## create or refresh .venv from requirements.lock
	@want_lock=$$(sha256sum < requirements.lock); want_project=$$(sha256sum < pyproject.toml); \
	have() { [ -f "$(VENV)/$$1" ] && [ "$$(cat "$(VENV)/$$1")" = "$$2" ]; }; \
	if ! have .stamp-lock "$$want_lock" || ! $(BIN)/python -c '' 2>/dev/null; then \
	  command -v $(PYTHON) >/dev/null || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	      || { echo "setup: no $(PYTHON). Type: sudo apt-get install python3 python3-venv" >&2; exit 1; }; \
	    apt-get update -qq; $(APT) python3 python3-venv; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "setup: Python 3.11 or newer is needed, $$($(PYTHON) -V) found. Type: make PYTHON=python3.11 setup" >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	      || { echo "setup: Python's venv is missing. Type: sudo apt-get install python3-venv" >&2; exit 1; }; \
	    apt-get update -qq; $(APT) python3-venv; }; \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	  echo "setup: installing requirements.lock into $(VENV)"; \
	  $(BIN)/python -m pip install -q --require-hashes -r requirements.lock; \
	  echo "$$want_lock" > $(VENV)/.stamp-lock; \
	  rm -f $(VENV)/.stamp-project; \
	fi; \
	if ! have .stamp-project "$$want_project"; then \
	  echo "setup: installing scrutin into $(VENV)"; \
	  $(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .; \
	  echo "$$want_project" > $(VENV)/.stamp-project; \
	fi

demo: setup ## the whole chain on real services: 50,000 votes, counted and verified (HOLD=1 keeps it running)
	@$(BIN)/scrutin demo $(if $(HOLD),--hold) $(DEMO_ARGS)

demo-tally: setup ## a small encrypted election: keys, ballots, a killed worker, result and verified record
	@$(BIN)/scrutin tally demo $(DEMO_ARGS)

test: setup ## all tests, in three processes with a stack each (JOBS=n)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(SUITES) $(PYTEST_ARGS)

unit: setup ## the tests that need no service
	@$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

bench: setup ## throughput and latency of the chain (BENCH_ARGS="--only NAME", "--long")
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-gateway: setup ## votes a second over HTTP, how soon others see them, 10,000 sockets (FIGURES="NAME ...")
	@$(BIN)/python -m tests.bench $(addprefix --only ,$(FIGURES)) \
	  --json build/bench-gateway.json $(BENCH_ARGS)
	@cat build/bench-gateway.json

screenshots: setup ## pictures of the pages in build/screenshots: phone and desktop, light and dark, fr and en
	@$(BIN)/python -m tests.tools.screenshots build/screenshots

long-tally: setup ## an encrypted election of 10,000 ballots and 10 candidates with killed workers
	@SCRUTIN_TEST_TALLY_BALLOTS=10000 $(BIN)/python -m pytest -s tests/integration/test_tally_election.py $(PYTEST_ARGS)

bench-tally: setup ## the encrypted tally's operations beside electionguard 1.4.0
	@$(BIN)/python -m tests.bench.tally $(BENCH_ARGS)

bench-compare: setup ## this tree and another revision, alternating on one stack (REV=...)
	@$(BIN)/python -m tests.bench.compare $(REV) $(BENCH_ARGS)

chaos: setup ## every fault under a running count, checked by an independent oracle (SHARD=i/n)
	@$(BIN)/python -m tests.faults $(CHAOS_ARGS)

hostile: setup ## hostile clients of the gateway and RabbitMQ beside honest ones, with figures (HOSTILE_ARGS="--only NAME")
	@$(BIN)/python -m tests.hostile --json build/hostile.json $(HOSTILE_ARGS)

# Installed apart: atheris has wheels for few versions of Python.
fuzz: setup ## every parser of what comes from outside, FUZZ_SECONDS each (FUZZ_ARGS="--only TARGET")
	@$(BIN)/python -m pip install -q --require-hashes --upgrade --target build/atheris -r tests/fuzz/requirements.lock
	@PYTHONPATH=build/atheris $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

adopt: setup ## adoptions of 200,000 votes from each old schema, killed during the run
	@ADOPT_VOTES=200000 $(BIN)/python -m pytest tests/integration/test_adopt.py -k is_the_old_one -s $(PYTEST_ARGS)

installs: setup ## the wheel with each of its extras, in empty environments, with their sizes
	@INSTALLS="cli bridge worker gateway tally parquet pictures local dev" \
	  $(BIN)/python -m pytest tests/integration/test_installs.py -s $(PYTEST_ARGS)

brokers: setup ## a count on three Kafka brokers, each killed once (BROKERS_VOTES=n)
	@BROKERS_VOTES=$${BROKERS_VOTES:-60000} $(BIN)/python -m pytest tests/integration/test_brokers.py -s $(PYTEST_ARGS)

junk: setup ## a million junk messages before 10,000 honest votes
	@JUNK=1000000 HONEST=10000 $(BIN)/python -m pytest tests/acceptance/test_junk.py -s $(PYTEST_ARGS)

platforms: setup ## demo, unit and service tests on Debian 12 and 13, in trees of debootstrap, as root (PLATFORMS_ARGS="debian-14 --only queues")
	@$(BIN)/python -m tests.platforms $(PLATFORMS_ARGS)

pythons: setup ## the unit tests on each Python of this machine (PYTHONS_ARGS=--short: on the others, what depends on the version)
	@$(BIN)/python -m tests.platforms --pythons $(PYTHONS_ARGS)

long-roll: setup ## a roll of 8 million entries, loaded from every format
	@ROLL_ENTRIES=8000000 $(BIN)/python -m pytest tests/integration/test_roll_at_size.py -s $(PYTEST_ARGS)

# Locks of the tests' reference tools are older on purpose, and never installed beside votes.
helm: setup ## render the chart with a real Helm, for its tests
	@$(BIN)/python -m tests.tools.helm

audit: setup ## the locked dependencies against the published advisories (AUDIT_ARGS=--required: fail if they cannot be reached)
	@$(BIN)/python -m tests.audit $(AUDIT_ARGS)

lint: setup ## formatting, style, types, the rule of dependency and the words of the prose
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/python -m tests.tools.prose

format: setup ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# uv writes one lock for every platform and Python version; no registry address gets into it.
lock: ## rebuild the locks of pyproject.toml and of the tests' reference tools (UPGRADE=1 takes the newest versions)
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; "$$tools/bin/python" -m pip install -q uv; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra dev $(if $(UPGRADE),--upgrade) \
	  pyproject.toml -o requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-deps \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/oracle/requirements.in -o tests/oracle/requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/oracle/merkle.in -o tests/oracle/merkle.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" --constraint requirements.lock \
	  $(addprefix --extra ,bridge console gateway parquet pictures tally worker) pyproject.toml docker/requirements.in \
	  -o docker/requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/bench/peers/requirements.in -o tests/bench/peers/requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/bench/peers/runoff.in -o tests/bench/peers/runoff.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/tools/requirements.in -o tests/tools/requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/fuzz/requirements.in -o tests/fuzz/requirements.lock; \
	"$$tools/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-deps \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  tests/tools/kubernetes.in -o tests/tools/kubernetes.lock

stack-up: setup ## start the local stack
	@$(BIN)/scrutin stack up

stack-down: setup ## stop the local stack and remove its data
	@$(BIN)/scrutin stack down

clean: ## remove what the other targets made (stops a running stack first)
	@if [ -x $(BIN)/scrutin ] && [ -d "$${SCRUTIN_STACK_DIR:-.stack}" ]; then $(BIN)/scrutin stack down; fi
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
