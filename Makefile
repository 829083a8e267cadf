# The desk of adam_nbdev. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
STAMPS := .venv/stamps
# the Python of that version on the path, or of pyenv
named = $(shell python$(1) -c 'import sys; print(sys.executable)' 2>/dev/null || ls -d ~/.pyenv/versions/$(1).*/bin/python 2>/dev/null | sort -V | tail -n 1)
PYTHON311 ?= $(call named,3.11)
PYTHON313 ?= $(call named,3.13)
WHEEL := .venv/wheel
AS_INSTALLED := PYTHONPATH="$(CURDIR)/$(WHEEL)"
COVER := --cov --cov-report=
NOTEBOOKS := $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
MODULES := $(filter-out adam_nbdev/_modidx.py,$(shell find adam_nbdev -name '*.py' -o -name '*.js' -o -name '*.css'))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help book test check lint in-step pages export lock hooks matrix release bench bench-gpu defaults field picture pdf clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(STAMPS)/wheel ## execute the notebooks, build the book, print where to open it
	@$(AS_INSTALLED) $(BIN)/python book/build.py

ifeq ($(origin T),command line)
test: $(STAMPS)/desk
	@$(BIN)/pytest -q $(T)
else
test: in-step lint $(STAMPS)/wheel ## all that CI runs; with T= a part: make test T="-k nan"
	@echo "== tests, against the installed wheel"
	@$(AS_INSTALLED) $(BIN)/pytest -q -n 2 --dist loadfile --ignore-glob '*/book/test_pages*.py' $(COVER)
	@$(AS_INSTALLED) $(BIN)/python book/coverage_report.py
	@echo "== the book, every notebook executed"
	@$(AS_INSTALLED) $(BIN)/python book/build.py --force
	@$(MAKE) --no-print-directory pages
endif

pages: ## the built pages, in a real browser
	@echo "== the pages of the book, in a browser"
	@$(BIN)/pytest -q -n 2 --dist worksteal tests/book/test_pages*.py
	@command -v chromium >/dev/null || echo "Chromium is missing, so the pages were not tested in a browser: install it (Debian: apt-get install chromium)."

check: in-step lint $(STAMPS)/desk ## the desk's quick round: generated files, lint, unit tests
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow and not long"

lint: $(STAMPS)/environment
	@echo "== lint"
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check tests book

in-step: $(STAMPS)/environment
	@echo "== generated files"
	@$(BIN)/python book/in_step.py

export: $(STAMPS)/desk ## write the library from the notebooks, and clean the notebooks
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
	@# a CPU build of torch, where pip is configured to find one beside the index: a tenth of the size
	@sed -n '/^torch==/,/[^\\]$$/p' requirements.txt > .venv/torch.txt
	@$(BIN)/pip install -q --no-index --no-deps --require-hashes -r .venv/torch.txt 2>/dev/null || true
	@$(BIN)/pip install --progress-bar off --no-deps --require-hashes -r requirements.txt | grep -E '^(Collecting|Installing|Successfully)' | cut -c1-100 || { echo "The pinned versions could not be installed: is there a network? pip's message above says more."; exit 1; }
	@# torch alone, for what a build of it asks for beyond the lock: CUDA's libraries, or nothing
	@$(BIN)/pip install -q "$$(grep -o '^torch==[^ ]*' requirements.txt)"
	@$(BIN)/pip check
	@mkdir -p $(STAMPS) && touch $@

lock: $(STAMPS)/environment ## pin every version anew in requirements.txt; UPGRADE=1 takes the newest
	@$(BIN)/python book/lock.py $(if $(UPGRADE),--upgrade)

hooks: $(STAMPS)/environment ## set up git: checks before a commit, merges of notebooks
	@$(BIN)/pre-commit install
	@git config merge.nbdev-merge.name "merge notebooks cell by cell"
	@git config merge.nbdev-merge.driver "$(BIN)/nbdev_merge %O %A %B %P"

matrix: $(STAMPS)/environment ## unit tests on Python 3.13 with the newest versions, and on 3.11 with the lowest
	@$(BIN)/python book/matrix.py newest "$(PYTHON313)" $(T)
	@$(BIN)/python book/matrix.py lowest "$(PYTHON311)" $(T)

release: $(STAMPS)/environment ## make a release here: make release VERSION=1.2.3, with DRY_RUN=1 to try it
	@$(BIN)/python book/release.py "$(VERSION)" $(if $(DRY_RUN),--dry-run)

bench: $(STAMPS)/desk ## measure the speed of a step, beside torch and NumPy, into book/bench.json
	@$(BIN)/python book/bench.py

bench-gpu: $(STAMPS)/desk ## the same on a GPU, after a check against fifty digits there, into book/bench_gpu.json
	@$(BIN)/python book/bench_gpu.py

defaults: $(STAMPS)/desk ## read the defaults of torch, optax, Keras and MLX anew, into book/defaults.json; needs a network
	@$(BIN)/python book/defaults.py

field: $(STAMPS)/desk ## ask the Adams of some twenty libraries which they are, into book/field.json; needs a network
	@$(BIN)/python book/field.py

picture: $(STAMPS)/desk ## draw the picture of the README
	@$(BIN)/python book/picture.py

pdf: ## print the built book as one PDF, _build/adam.pdf
	@$(BIN)/python book/pdf.py

clean: ## remove what was built, and the environment
	@rm -rf .venv .matrix _build build dist *.egg-info conf.py .pytest_cache .ruff_cache .hypothesis .coverage
