# Two targets do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
# `make help` lists the rest. PYTHON=/path/to/python chooses another interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo "$$name" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := cli,media,metrics
PYTEST_ARGS ?=

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the virtual environment -------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later was found; install one, or say PYTHON=/path/to/python." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/system-packages venv
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'pip>=25.1'

# What a demo needs: the package and its command line.
$(VENV)/.installed-run: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[cli]'
	@touch $@

# What the tests, the linters and the documentation need besides.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install 'pip>=25.1'
	$(PIP) install --editable '.[$(EXTRAS)]' --group dev
	@touch $@ $(VENV)/.installed-run

.PHONY: venv
venv: $(VENV)/.installed-dev ## Create .venv with everything a developer needs.

.PHONY: system
system: ## Install what the tests take from the system (RabbitMQ, ffmpeg, libsrt), when root and apt are there.
	@.ci/system-packages tests

# --- demonstrations ----------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.installed-run ## A real worker on a real order, no broker: digests of a 256 MiB file.
	@$(BIN)/python examples/demo.py

.PHONY: demo-rabbitmq
demo-rabbitmq: $(VENV)/.installed-dev system ## The same worker under a private RabbitMQ node.
	@$(BIN)/python examples/demo_rabbitmq.py

.PHONY: demo-media
demo-media: $(VENV)/.installed-dev system ## A media worker finds the cuts of a generated clip.
	@$(BIN)/python examples/scene_changes/demo.py

.PHONY: bench
bench: $(VENV)/.installed-dev system ## Measure, with the reference beside; benchmarks/README.md says how to read it.
	$(BIN)/python -m benchmarks $(if $(REFERENCE),--reference $(REFERENCE)) $(if $(MEDIA_REFERENCE),--media-reference $(MEDIA_REFERENCE))

# --- checks ------------------------------------------------------------------------------------------------

.PHONY: test
test: lint docs system ## Everything: linters, types, documentation, the whole test suite.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(VENV)/.installed-dev ## Only the tests that need no broker.
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

.PHONY: test-all-pythons
test-all-pythons: ## The unit tests on each Python from 3.11 to 3.13 that is found.
	@.ci/test-all-pythons

.PHONY: lint
lint: $(VENV)/.installed-dev ## ruff and mypy.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.installed-dev ## Format, and mend what ruff can mend.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(VENV)/.installed-dev ## Build the documentation into docs/_build/html; a warning fails.
	$(BIN)/python -m sphinx -n -W --keep-going -q -b html docs docs/_build/html

.PHONY: dist
dist: $(VENV)/.installed-dev ## Build both distributions into dist/.
	$(PIP) install build
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist packaging/media

.PHONY: clean
clean: ## Remove what the targets made, but for .venv.
	rm -rf .demo dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
