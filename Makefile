# Everything a person does with this checkout. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is installed, told by empty files: a second `make up` only looks at their times.
VENV_MADE := $(VENV)/made
RUNTIME := $(VENV)/runtime-installed
DEV := $(VENV)/dev-installed
# Frameworks that the worker is measured against: they ask for other versions of what we use.
PEERS := .venv-peers/installed
COMPILED := $(wildcard */*.pxd */*.pyx */*/*.pyx)
ARGS ?=
# Tests mostly wait for servers: more processes than cores are right.
JOBS ?= 3

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: up test test-long lint bench bench-quick chaos fuzz help clean

up: $(RUNTIME)  ## start everything and take events (more options: make up ARGS="--port 9000")
	@exec $(BIN)/whipstitch up $(ARGS)

test: $(RUNTIME) $(DEV)  ## the whole test suite (one part of it: make test ARGS=tests/unit)
	@exec $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS)

test-long: $(RUNTIME) $(DEV)  ## what of it takes longest: three brokers, a swap that is killed at each step, more ways to break a replay
	@exec $(BIN)/python -m pytest -m long $(ARGS)

lint: $(RUNTIME) $(DEV)  ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

bench: $(RUNTIME) $(DEV) $(PEERS)  ## what an event costs, as ratios, into docs/performance.md (hours; leave the machine alone meanwhile)
	@$(BIN)/python -m bench --docs $(ARGS)

bench-quick: $(RUNTIME) $(DEV) $(PEERS)  ## the same table of a little of everything, to see that it works (5 minutes)
	@$(BIN)/python -m bench --quick --out build/bench-quick $(ARGS)

chaos: $(RUNTIME) $(DEV)  ## kill, pause and fill each part under load, and hold the promise (20 minutes; ARGS="--seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(RUNTIME) $(DEV)  ## 200,000 odd requests against the real ingress and worker (about 20 minutes)
	@$(BIN)/python -m tests.fuzz --count 200000 $(ARGS)

clean:  ## remove what is installed here; the data in .whipstitch stays
	rm -rf $(VENV) .venv-peers build *.egg-info

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV_MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo not there); Python 3.11 or newer is needed:" \
			"make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { \
		echo "make: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUNTIME): requirements.lock pyproject.toml setup.py $(COMPILED) | $(VENV_MADE)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.lock | $(VENV_MADE)
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

$(PEERS): bench/requirements-peers.lock
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r $<
	@touch $@
