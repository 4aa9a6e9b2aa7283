# Everything runs in .venv, which is made on first use: only Python (3.11 or newer) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint format docs validate clean

help:
	@echo "make demo    set up, and analyse the sample video"
	@echo "make test    set up, and run the tests"
	@echo "make lint    check style, types and the import wall"
	@echo "make format  put the code into its style"
	@echo "make docs    write docs/cli.md again from the commands' help"
	@echo "make validate  simulate and analyse the standard recipes (half an hour or more)"
	@echo "make clean   remove the environment and what the tools left"

demo: $(VENV)/.installed
	$(BIN)/nta analyze sample_data/ev_sample.tif --output nta_results
	@echo
	@echo "The figure:  nta_results/ev_sample/figure.png"
	@echo "The CSV:     nta_results/ev_sample/histogram.csv"
	@echo "Your video:  $(BIN)/nta analyze VIDEO --pixel-size-um 0.166 --fps 25"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-test
	$(BIN)/python docs/make_cli_reference.py

validate: $(VENV)/.installed
	$(BIN)/nta validate --suite --output nta_scorecard

# the package is installed in place: changes in src/ need no new installation
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nta needs Python 3.11 or newer; say which one to use: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis nta_results nta_scorecard
