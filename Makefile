# The desk of adam_nbdev. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
STAMPS := .venv/stamps
NOTEBOOKS := $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
MODULES := $(filter-out adam_nbdev/_modidx.py,$(shell find adam_nbdev -name '*.py'))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help book test check lint in-step pages export bench picture clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(STAMPS)/wheel ## execute the notebooks, build the book, print where to open it
	@$(BIN)/python book/build.py

test: in-step lint $(STAMPS)/wheel ## all that CI runs
	@echo "== tests, against the installed wheel"
	@$(BIN)/pytest -q -n 2 --dist loadfile --ignore tests/test_pages.py
	@echo "== the book, every notebook executed"
	@$(BIN)/python book/build.py --force
	@$(MAKE) --no-print-directory pages

pages: ## the built pages, in a real browser
	@echo "== the pages of the book, in a browser"
	@$(BIN)/pytest -q -n 2 tests/test_pages.py
	@command -v chromium >/dev/null || echo "Chromium is missing, so the pages were not tested in a browser: install it (Debian: apt-get install chromium)."

check: in-step lint $(STAMPS)/wheel ## the desk's quick round: generated files, lint, unit tests
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow and not long"

lint: $(STAMPS)/environment
	@echo "== lint"
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check tests book

in-step: $(STAMPS)/environment
	@echo "== generated files"
	@$(BIN)/python book/in_step.py

export: $(STAMPS)/environment ## write the library from the notebooks, and clean the notebooks
	@$(BIN)/python book/in_step.py --write

$(STAMPS)/wheel: $(STAMPS)/environment $(MODULES) pyproject.toml README.md LICENSE
	@echo "== install adam_nbdev as a wheel"
	@rm -rf build
	@$(BIN)/pip install -q --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build *.egg-info && touch $@

$(STAMPS)/environment: requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or later is needed: install it, or name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "== create .venv and install the pinned versions (one to three minutes)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/pip install --progress-bar off -r requirements.txt | grep -E '^(Collecting|Installing|Successfully)' | cut -c1-100 || { echo "The pinned versions could not be installed: is there a network? pip's message above says more."; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

bench: $(STAMPS)/wheel ## measure the speed of a step, beside torch and NumPy, into book/bench.json
	@$(BIN)/python book/bench.py

picture: $(STAMPS)/wheel ## draw the picture of the README
	@$(BIN)/python book/picture.py

clean: ## remove what was built, and the environment
	@rm -rf .venv _build build dist *.egg-info conf.py .pytest_cache .ruff_cache .hypothesis
