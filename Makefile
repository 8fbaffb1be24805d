# `make help` lists what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install train test test-fast test-gpu check format dashboard clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "error: Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(STAMP)  ## create .venv and install into it

train: $(STAMP)  ## train the embedded default (ARGS="norm=bssn dataset=cifar10" for more)
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-fast: $(STAMP)  ## the tests that take under five seconds each
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

# With the environment there is: machines with a GPU often have no package index, and torch already.
test-gpu:  ## the tests that need a CUDA device; installs nothing
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m pytest -m gpu $(ARGS)

check: $(STAMP)  ## format check, lint, types, configuration lint, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/lint_configs.py
	$(BIN)/python -m pytest -n 2 -m "not slow"

format: $(STAMP)  ## format the code and sort the imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dashboard: $(STAMP)  ## open TensorBoard on runs/
	$(BIN)/python scripts/dashboard.py $(ARGS)

clean:  ## remove the environment and caches (runs and data stay)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
