# make run     install into .venv and run the demo on a year of real flights
# make test    install into .venv and run all tests
# make test-server  run the tests with an event store on a ClickHouse server's HTTP interface
# make check   formatting, lint, types, import layers
# make bench   every benchmark at small size
# make serve   start the API server on the data folder
# make lock    pin the dependencies of pyproject.toml again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help run test test-server check bench serve requirements lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

run: $(VENV)/.run  ## install, then bill a year of real flights
	@$(BIN)/ratemill demo

serve: $(VENV)/.run  ## install, then start the API server
	@$(BIN)/ratemill serve

test: $(VENV)/.dev  ## install, then run all tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-server: $(VENV)/.dev  ## install, then run the tests with an event store on a ClickHouse server
	RATEMILL_TEST_STORES=server $(BIN)/python -m pytest -q tests/ingest tests/rollup tests/rating tests/invoicing

check: $(VENV)/.dev  ## formatting, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev  ## every benchmark at small size
	$(BIN)/python -m benchmarks all --size small

requirements: $(VENV)/.dev  ## requirements rows and how many tests show each
	@$(BIN)/python -m tests.support.requirements

lock: $(VENV)/.dev  ## pin the dependencies again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-header --generate-hashes --no-emit-index-url --no-emit-find-links --extra demo --extra build --extra postgres --extra bench --extra dev -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-header --generate-hashes --no-emit-index-url --no-emit-find-links --extra demo --extra build -c requirements/dev.txt -o requirements/run.txt

clean:  ## remove the virtual environment and caches (never data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ratemill needs Python 3.11 or newer; try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing Ratemill into $(VENV) (about 1.3 GB, one to two minutes) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m api.warm_up
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing Ratemill and its test tools into $(VENV) (about 1.8 GB, one to two minutes) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m api.warm_up
	@touch $@ $(VENV)/.run
