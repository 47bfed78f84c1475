# Quoth: `make run` answers a question a minute after its packages are installed; `make test` proves it still does.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := install -qq --no-deps --require-hashes
HOST   ?= 127.0.0.1
PORT   ?= 8000
DATA   ?= ../shared/data/retrieval

.PHONY: help setup run test long check format lint types contracts bench lock clean crash expected

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.models ## install Quoth into .venv from the locks, and pull the default models

run: setup ## ingest examples/ and serve the API on 127.0.0.1:8000
	@$(BIN)/quoth ingest examples
	@exec $(BIN)/quoth serve --host $(HOST) --port $(PORT) --try "How many days of annual leave do I get?"

test: .venv/.test-models ## the tests; no network is needed after the install
	$(BIN)/python -m pytest

long: .venv/.test-models ## the tests that take minutes each: whole collections, whole evals
	$(BIN)/python -m pytest -m long -s

check: .venv/.test-models lint types contracts test ## format, lint, types, import contracts, tests

format: .venv/.dev ## rewrite the code in the project's format
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: .venv/.dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: .venv/.dev
	$(BIN)/mypy

contracts: .venv/.dev
	$(BIN)/lint-imports

bench: .venv/.test-models ## speed and memory, printed with their commands; with DATA=DIR quality and scale, too
	$(BIN)/python -m benchmarks.run $(if $(DATA),--data $(DATA))

crash: .venv/.test-models ## kill a running ingest at every named point and at random moments, long form
	$(BIN)/python -m pytest tests/ingest/test_crash.py --crash-kills=300 --crash-repeats=3 -s

expected: .venv/.models ## run the figures of evals/expected again; DATA=DIR holds the datasets, ALL=1 runs the long ones, too
	$(BIN)/python -m evals.expectations --datasets $(DATA) $(if $(ALL),--all)

lock: ## resolve the dependencies anew (needs uv)
	$(PYTHON) locks/compile.py

clean: ## remove the environment; documents and models stay
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Quoth needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "Python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

# torch's CPU wheel where the index in use has it; otherwise the default index's, which on Linux needs CUDA beside it.
.venv/.base: .venv/bin/python pyproject.toml locks/base.txt locks/torch.txt locks/torch-cpu.txt locks/cuda.txt
	@echo "Installing Quoth's packages (about 2 GB on disk); this takes a few minutes ..."
	@$(PIP) $(LOCKED) -r locks/base.txt
	@$(PIP) $(LOCKED) -r locks/torch-cpu.txt 2>/dev/null || { $(PIP) $(LOCKED) -r locks/torch.txt && \
	  { [ "$$(uname -s)" != Linux ] || $(PIP) $(LOCKED) -r locks/cuda.txt; }; }
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.base locks/dev.txt
	@$(PIP) $(LOCKED) -r locks/dev.txt
	@touch $@

.venv/.models: .venv/.base
	@$(BIN)/quoth models pull --default
	@touch $@

.venv/.test-models: .venv/.dev
	@$(BIN)/quoth models pull --default --tests
	@touch $@
