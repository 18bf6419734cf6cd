# People and CI run the same commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install up test lint format eval chaos bench lock clean

# The first interpreter on the PATH that is a CPython 3.11.
PYTHON ?= $(shell for p in python3.11 python3 python; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

install: $(STAMP)  ## make .venv with everything in it (does nothing when up to date)

# The stamp is written last, so an interrupted install is begun again.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Klankbord needs Python 3.11 on the PATH (as python3.11 or python3); say where it is with: make install PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into .venv (the first time downloads about 500 MB; it may take a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
	@echo "Installed: $$($(BIN)/klankbord --version)"

up: install  ## start Kafka, ClickHouse's engine and the four services, with sample mentions
	@$(BIN)/klankbord up $(ARGS)

test: install  ## run every test, on a real Kafka and a real ClickHouse engine
	@$(BIN)/python -m tests.prepare
	@$(BIN)/python -m pytest $(ARGS)

lint: install  ## ruff and mypy, as the pre-commit hooks and CI run them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

eval: install  ## accuracy on the labelled data, per language and label
	@$(BIN)/python -m bench.accuracy $(ARGS)

chaos: install  ## 200,000 mentions while processes are killed and stopped: is each there, once
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: install .venv-bench/.installed  ## how fast the parts are on this machine, beside their peers
	@$(BIN)/python -m bench $(ARGS)

# Quix Streams asks for older versions than ours: the peers live apart.
.venv-bench/.installed: requirements-bench.lock
	@echo "Installing what we are measured beside into .venv-bench ..."
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

# --no-emit-index-url: a lock file names no registry's host.
LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# The image's two have the versions that are tested, so the first lock constrains them.
lock: ## write the lock files anew from pyproject.toml: all, what a container runs, what builds its wheel
	$(LOCK) --extra local --extra onnx --group dev pyproject.toml --output-file requirements.lock
	$(LOCK) --constraints requirements.lock pyproject.toml --output-file requirements-runtime.lock
	$(LOCK) --constraints requirements.lock --group build --output-file requirements-build.lock
	$(LOCK) --group bench --output-file requirements-bench.lock

clean:  ## remove what was installed and built (not your data)
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache
