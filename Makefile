# Every target makes the virtual environment that it needs: a fresh clone, Python 3.11+ and make suffice.
# Variables: PYTHON=/path/to/python3.11   ARGS="..." (passed on)   JOBS=2 (test processes)
#            CUDA=12 (or 13, for the targets of the GPU)

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
    $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
JOBS ?= 2
CUDA ?= 12
CUDA_TESTS = backend cupy_calls sweep_portable gpu
ARGS ?=

# One thread per test process; nothing opens a window.
SINGLE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.PHONY: help test test-core coverage lint format reproduce bench bench-gpu test-cuda docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "make %-11s %s\n", $$1, $$2 }'

test: .venv/installed  ## run all tests (downloads torch)
	$(SINGLE_THREAD) .venv/bin/pytest -n $(JOBS) $(ARGS)

test-core: .venv-core/installed  ## run the tests that need no torch, in an environment without it
	$(SINGLE_THREAD) .venv-core/bin/pytest -n $(JOBS) $(ARGS)

coverage: .venv-core/installed  ## run the tests without torch and count the lines they reach
	$(SINGLE_THREAD) .venv-core/bin/pytest -n $(JOBS) --cov $(ARGS)

lint: .venv-core/installed  ## check style, formatting and types
	.venv-core/bin/ruff check .
	.venv-core/bin/ruff format --check .
	.venv-core/bin/mypy -p warmflow

format: .venv-core/installed  ## format the code and sort the imports
	.venv-core/bin/ruff check --select I --fix .
	.venv-core/bin/ruff format .

reproduce: .venv-run/installed  ## simulate, store and draw the figures into results/quick
	.venv-run/bin/warmflow reproduce $(ARGS)

bench: .venv-bench/installed  ## measure speed, beside JAX and diffrax
	MPLBACKEND=Agg .venv-bench/bin/pytest benchmarks $(ARGS)

test-cuda: .venv-cuda/installed  ## prove the CUDA path with CuPy, no GPU needed (downloads 1 GB; CUDA=12 or 13)
	$(SINGLE_THREAD) .venv-cuda/bin/pytest -n $(JOBS) tests/dynamics/cuda $(CUDA_TESTS:%=tests/dynamics/test_%.py) $(ARGS)

bench-gpu: .venv-cuda/installed  ## measure sweeps on a GPU beside the CPU (CUDA=12 or 13)
	MPLBACKEND=Agg .venv-cuda/bin/pytest -m gpu benchmarks/bench_gpu.py $(ARGS)

docs: .venv-docs/installed  ## build the pages into docs/_build/html, warnings as errors
	MPLBACKEND=Agg .venv-docs/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## remove the environments and all that was built; results/ stays
	rm -rf $(ENVIRONMENTS) build dist warmflow.egg-info docs/_build
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage .coverage.* htmlcov
	find dynamics analysis figures paper_repro warmflow tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

ENVIRONMENTS = .venv .venv-core .venv-run .venv-bench .venv-docs .venv-cuda

# What is installed where: `warmflow`, or `warmflow[EXTRAS]`, editable.
.venv/installed:       EXTRAS = [test]
.venv-core/installed:  EXTRAS = [test-core]
.venv-run/installed:   EXTRAS =
.venv-bench/installed: EXTRAS = [test-core,bench]
.venv-docs/installed:  EXTRAS = [docs]
.venv-cuda/installed:  EXTRAS = [test-core,bench,cuda$(CUDA)]

$(ENVIRONMENTS:=/installed): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Installing warmflow$(EXTRAS) into $(@D); the first time this takes some minutes."
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$(EXTRAS)"
	@touch $@
