# What one types: `make demo` shows what this is, `make test` checks it. Both need only Python 3.11 to 3.13.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv

ifeq ($(VENV),0)
  # Colab, Kaggle and the like: the packages that are there already stay, only what is missing is installed.
  RUN := $(PYTHON)
  READY := .emotion-ready
else
  RUN := $(VENV)/bin/python
  READY := $(VENV)/.ready
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench clean

help:  ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(READY)  ## Make the environment (.venv) with everything that training and testing need

ifeq ($(VENV),0)
$(READY): pyproject.toml
	$(RUN) -m pip install -e '.[dev]'
	@touch $@
else
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"expected Python 3.11, 3.12 or 3.13, found {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endif

demo: $(READY)  ## Train on drawn faces for a minute on the CPU and write a report
	$(RUN) train.py experiment=demo

test: $(READY)  ## All fast tests: no data, no weights, no network
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -m "not slow"

lint: $(READY)  ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m mypy

bench: $(READY)  ## Measure emotion beside what people use, for hours: experiments/benchmarks/README.md
	$(RUN) -m experiments.benchmarks $(BENCH)

clean:  ## Remove the environment and caches; runs stay
	rm -rf $(VENV) .emotion-ready build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
