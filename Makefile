# `make demo` and `make test` are all that is needed; each makes .venv first where it is missing.
#   PYTHON=...  the Python to build .venv from     TORCH=...  another requirement for torch (see make setup)

USABLE = import ensurepip, sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(or $(shell for p in python3.11 python3 python3.12 python3.10; do \
	$$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done),python3)
BIN = .venv/bin
export TORCH

.PHONY: help setup demo demo-grounded test test-slow lint clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/.compiled  ## make .venv with everything in it (about 3 minutes on 2 cores)

.venv/.ready: constraints.txt pyproject.toml setup.py fairseq_parp/environment/install.py fairseq_parp/environment/choices.py
	@$(PYTHON) -m fairseq_parp.environment.install .venv

.venv/.compiled: .venv/.ready $(wildcard fairseq_parp/*/*.cpp fairseq_parp/*/*/*.cpp)
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

demo: setup  ## the main job on synthesised speech: table and plot
	@$(BIN)/fairseq-parp demo

demo-grounded: setup  ## speech with pictures: spoken captions of drawn objects, recall and a contact sheet
	@$(BIN)/fairseq-parp demo --grounded

test: lint  ## style, types and all tests but the slow ones, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup  ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow

lint: setup  ## style, types and spelling alone
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/codespell
	@$(BIN)/yamllint --strict .

clean:  ## remove .venv, caches and built packages; results stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
