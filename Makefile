# The desk of adam_nbdev. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
STAMPS := .venv/stamps
WHEEL := .venv/wheel
AS_INSTALLED := PYTHONPATH="$(CURDIR)/$(WHEEL)"
NOTEBOOKS := $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
MODULES := $(filter-out adam_nbdev/_modidx.py,$(wildcard adam_nbdev/*.py))
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
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

lint: $(STAMPS)/environment
	@echo "== lint"
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check tests book

in-step: $(STAMPS)/environment
	@echo "== generated files"
	@$(BIN)/python book/in_step.py

export: $(STAMPS)/environment ## write the library from the notebooks, and clean the notebooks
	@$(BIN)/python book/in_step.py --write

# The library twice. At the desk it is the checkout: what `make export` wrote is there at once, for
# Jupyter too. Tests of the whole and the book put the folder with the wheel before it on the path.
$(STAMPS)/desk: $(STAMPS)/environment pyproject.toml
	@echo "== install adam_nbdev from the checkout, for the desk"
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@rm -rf *.egg-info && touch $@

$(STAMPS)/wheel: $(STAMPS)/desk $(MODULES) pyproject.toml README.md LICENSE
	@echo "== install adam_nbdev as a wheel"
	@rm -rf build $(WHEEL)
	@$(BIN)/pip install -q --no-deps --no-build-isolation --target $(WHEEL) .
	@rm -rf build *.egg-info && touch $@

$(STAMPS)/environment: requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or later is needed: install it, or name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "== create .venv and install the pinned versions (one to three minutes)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/pip install --progress-bar off --no-deps --require-hashes -r requirements.txt | grep -E '^(Collecting|Installing|Successfully)' | cut -c1-100 || { echo "The pinned versions could not be installed: is there a network? pip's message above says more."; exit 1; }
	@# torch alone, for what a build of it asks for beyond the lock: CUDA's libraries, or nothing
	@$(BIN)/pip install -q "$$(grep -o '^torch==[^ ]*' requirements.txt)"
	@$(BIN)/pip check
	@mkdir -p $(STAMPS) && touch $@

bench: $(STAMPS)/wheel ## measure the speed of a step, beside torch and NumPy, into book/bench.json
	@$(BIN)/python book/bench.py

picture: $(STAMPS)/wheel ## draw the picture of the README
	@$(BIN)/python book/picture.py

clean: ## remove what was built, and the environment
	@rm -rf .venv _build build dist *.egg-info conf.py .pytest_cache .ruff_cache .hypothesis
