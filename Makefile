# Two targets do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
# `make help` lists the rest. PYTHON=/path/to/python chooses another interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The machine's default where it will do, else the newest.
PYTHON ?= $(shell for name in python3 python3.{30..11}; do \
	"$$name" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo "$$name" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := cli,gpu,media,metrics
PYTEST_ARGS ?=
# Suite name of the Debian whose versions are the newest.
NEWEST_DEBIAN ?= forky

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

# What the tests and the larger demonstrations need besides.
$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[$(EXTRAS)]' --group test
	@touch $@ $(VENV)/.installed-run

# What the linters and the documentation need besides.
$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[$(EXTRAS)]' --group dev
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-run

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
demo-rabbitmq: $(VENV)/.installed-test system ## The same worker under a private RabbitMQ node.
	@$(BIN)/python examples/demo_rabbitmq.py

.PHONY: demo-media
demo-media: $(VENV)/.installed-test system ## A media worker finds the cuts of a generated clip.
	@$(BIN)/python examples/scene_changes/demo.py

.PHONY: bench
bench: $(VENV)/.installed-test system ## Measure, with the reference beside; benchmarks/README.md says how to read it.
	$(BIN)/python -m benchmarks $(if $(REFERENCE),--reference $(REFERENCE)) $(if $(MEDIA_REFERENCE),--media-reference $(MEDIA_REFERENCE))

# --- checks ------------------------------------------------------------------------------------------------

.PHONY: test
test: lint docs system ## Everything: linters, types, documentation, the whole test suite.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(VENV)/.installed-test ## Only the tests that need no broker.
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

.PHONY: test-oldest
test-oldest: ## The whole suite on the oldest Python, with the lowest version of each dependency.
	@$(PYTHON) .ci/matrix.py oldest

.PHONY: test-newest
test-newest: ## The whole suite in a Debian of its own, with its Pythons, broker, ffmpeg and libsrt (NEWEST_DEBIAN=forky).
	@$(PYTHON) .ci/matrix.py $(NEWEST_DEBIAN)

.PHONY: test-all-pythons
test-all-pythons: ## The unit and media tests on each supported Python that is found.
	@$(PYTHON) .ci/matrix.py pythons

.PHONY: test-second-python
test-second-python: ## The same on the newest of them that is not the default.
	@$(PYTHON) .ci/matrix.py second

.PHONY: test-matrix
test-matrix: ## All of these, and the whole suite in a Debian between; writes what came of it into the documentation.
	@rm -rf .matrix
	@$(PYTHON) .ci/matrix.py default oldest pythons trixie $(NEWEST_DEBIAN) || status=$$?; \
	$(PYTHON) .ci/matrix_table.py; exit $${status:-0}

# One row of the matrix, in an environment that is brought to the newest versions, or to those that CONSTRAINT names.
.PHONY: test-row
test-row: $(BIN)/python system
	$(if $(CONSTRAINT),$(PIP) install packaging && $(BIN)/python .ci/lowest.py >$(CONSTRAINT))
	$(PIP) install --upgrade --upgrade-strategy eager $(if $(CONSTRAINT),--constraint $(CONSTRAINT)) \
		--editable '.[$(EXTRAS)]' --group test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

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
dist: $(BIN)/python ## Build both distributions into dist/.
	$(PIP) install build
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist packaging/media

.PHONY: clean
clean: ## Remove what the targets made, but for .venv* and .roots.
	rm -rf .demo .matrix dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
