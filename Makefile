# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
FUZZ_SECONDS := 600
# Of the login example; it holds password hashes and a secret.
ACCOUNTS := $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/sidecar-login/accounts.json
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help install install-dev run add-login run-login run-balances wheel test test-compiled test-fast conformance lint format \
	proto proto-envoy proto-go lock fuzz \
	bench bench-compare bench-client bench-calls bench-store bench-footprint bench-balances clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: $(VENV)/.installed ## make .venv with the sidecar in it

# What the sidecar needs to run, from the lock, with hashes; then the sidecar itself, editable.
$(VENV)/.installed: requirements/runtime.txt requirements/build.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	$(PIP) install --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

install-dev: $(VENV)/.installed-dev ## make .venv with everything that developers need

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

run: install ## serve the hospital example on an embedded Valkey
	$(BIN)/sidecar serve --config examples/hospital/sidecar.yaml

add-login: install-dev ## keep an account of the login example: NAME=ada, its password from standard input
	@PYTHONPATH=examples/hospital $(BIN)/python -m login --accounts $(ACCOUNTS) add $(NAME)

run-login: install-dev ## serve the login example, beside `make run` (examples/hospital/README.md)
	PYTHONPATH=examples/hospital $(BIN)/python -m login --accounts $(ACCOUNTS) serve

run-balances: install-dev ## show balances read through from a PostgreSQL of their own (examples/balances/README.md)
	PYTHONPATH=examples/balances $(BIN)/python -m balances

wheel: $(VENV)/.installed$(if $(COMPILED),-compile) ## build the wheel into dist/; COMPILED=1 for one of this platform's own
	PYTHON=$(BIN)/python tools/build_wheel.sh $(if $(COMPILED),compiled,pure) dist

$(VENV)/.installed-compile: $(VENV)/.installed requirements/compile.txt
	$(PIP) install --require-hashes -r requirements/compile.txt
	@touch $@

test: install-dev ## run all tests, with coverage
	tools/test_all.sh

test-fast: install-dev ## run the tests that take less than ten seconds each
	$(BIN)/pytest -m "not slow"

test-compiled: install-dev ## build the compiled wheel and test what mypyc made of the sources
	tools/test_compiled.sh

conformance: install-dev ## hold the engines against the conformance suites, and call them from five languages
	$(BIN)/pytest -n 2 --dist worksteal tests/conformance

proto-go: ## generate the Go module
	clients/go/generate.sh

lint: install-dev ## check style, types, layers, protos and generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy clients/python/tests
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python tools/generate.py --check
	if command -v go >/dev/null; then clients/go/generate.sh --check; fi

format: install-dev ## format the Python code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

proto: install-dev ## generate the protobuf modules, client stubs and configuration schema
	$(BIN)/python tools/generate.py

proto-envoy: install-dev ## take the protos of Envoy's rate limit service out of their package
	$(BIN)/python tools/take_envoy_protos.py

# Where there is no wheel of atheris, hypothesis does its work.
fuzz: install-dev ## attack every parser with bytes at random, FUZZ_SECONDS each
	$(PIP) install --require-hashes -r requirements/fuzz.txt || true
	PYTHONPATH=tests:. $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

lock: install-dev ## pin the dependencies anew
	for set in build runtime dev compile fuzz protos; do tools/lock.sh $$set; done

bench: install-dev ## measure everything, in about 22 minutes (bench/README.md)
	$(MAKE) -j1 bench-compare
	$(MAKE) -j1 bench-client
	$(MAKE) -j1 bench-calls
	$(MAKE) -j1 bench-store
	$(MAKE) -j1 bench-footprint

bench-compare: install-dev ## measure against the targets and the peers; ARGS="--parts get" for a part
	$(BIN)/python -m bench.compare $(ARGS)

bench-client: install-dev ## measure the Python client with and without auto_batch
	$(BIN)/python -m bench.client_batch $(ARGS)

bench-calls: install-dev ## measure every call beside an echo
	$(BIN)/python -m bench.run $(ARGS)

bench-store: install-dev ## measure the store's connection beside redis-py
	$(BIN)/python -m bench.store $(ARGS)

bench-footprint: install-dev ## weigh the sidecar before and after a million calls
	$(BIN)/python -m bench.footprint $(ARGS)

bench-balances: install-dev ## measure the example of balances without a sidecar and with one, and renew docs/benchmarks.md
	$(BIN)/python -m bench.balances --write $(ARGS)

clean: ## remove what the other commands made
	rm -rf $(VENV) .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
