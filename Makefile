# `make help` lists what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install install-lowest train test test-fast test-long test-lowest test-gpu check format docs dashboard clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

define make-venv  # $(call make-venv,DIRECTORY)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
	  || { echo "error: Python 3.11 to 3.14 is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(1)
endef

# Byte code is written by all cores, which pip does not do. Without it the first run takes ten seconds longer, and every
# one where PYTHONDONTWRITEBYTECODE is set.
$(STAMP): pyproject.toml
	$(call make-venv,$(VENV))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib gan_lab scripts >/dev/null || true  # some packages hold templates that are no Python
	@touch $@

# uv, as pip cannot choose the lowest versions. With --clear nothing stays that an earlier pyproject.toml asked for.
$(LOWEST_STAMP): pyproject.toml
	$(call make-venv,--clear $(LOWEST))
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev]'
	@touch $@

install: $(STAMP)  ## create .venv and install into it

install-lowest: $(LOWEST_STAMP)

train: $(STAMP)  ## train the embedded default (ARGS="norm=bssn dataset=cifar10" for more)
	$(BIN)/python train.py $(ARGS)

test: $(STAMP)  ## all tests but the long ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long" $(ARGS)

test-fast: $(STAMP)  ## the tests that take under a second each
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not long" $(ARGS)

test-long: $(STAMP)  ## the tests that take minutes or many processes, and further kinds of what others show
	$(BIN)/python -m pytest -m long $(ARGS)

# With the environment there is: machines with a GPU often have no package index, and torch already.
# Each test's name is printed as it ends, as such a machine may be lent for minutes.
test-gpu:  ## the tests that need a CUDA device; installs nothing
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m pytest -m gpu -vv $(ARGS)

test-lowest: $(LOWEST_STAMP)  ## the fast tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not long" $(ARGS)

check: $(STAMP)  ## format check, lint, types, configuration lint, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m scripts.lint_configs
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not long"

format: $(STAMP)  ## format the code and sort the imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the site into build/site (open build/site/index.html)
	$(BIN)/python -m scripts.docs.reference
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site

dashboard: $(STAMP)  ## open TensorBoard on runs/
	$(BIN)/python -m gan_lab dashboard $(ARGS)

clean:  ## remove the environments and caches (runs and data stay)
	rm -rf $(VENV) $(LOWEST) .pytest_cache .ruff_cache .mypy_cache
