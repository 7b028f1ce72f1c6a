# Only Python >= 3.11 and make are needed; everything else lands in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# A run of the tests or the demo never depends on the settings of the shell around it.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo standalone test lint types unit gpu bench paper build format clean docs

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## .venv with the exact versions of constraints.txt

demo: $(READY) ## the whole stack on this machine, a sample catalogue, one night, its report
	@$(BIN)/hierdiff demo

standalone: $(READY) ## the whole stack on this machine until Ctrl-C
	@$(BIN)/hierdiff standalone

test: lint unit ## everything CI checks

lint: $(READY) types ## style, formatting, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## types only
	$(BIN)/mypy

unit: $(READY) ## tests only; ARGS='-m "not slow"' for the quick ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

gpu: $(READY) ## tests that need a CUDA device, skipped without one
	$(BIN)/pytest tests/gpu $(ARGS)

docs: $(READY) ## docs/settings.md, from the code
	@$(BIN)/hierdiff settings --markdown > docs/settings.md

bench: $(READY) ## what it costs and saves, into benchmarks/results; ARGS='saving --quick', FORCE=1
	$(BIN)/python -W ignore -m benchmarks $(ARGS)

paper: $(READY) ## the paper's tables and figures on the miniature, into benchmarks/results
	$(BIN)/python -W ignore -m benchmarks.paper $(ARGS)

build: $(READY) ## wheel and source archive, into dist
	$(BIN)/python -m build

format: $(READY) ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## what was built here, the demo's data included
	rm -rf $(VENV) .hierdiff build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is younger than what it was built from, or the step runs again. A failed build
# leaves no stamp, so the next `make` picks up where this one stopped.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "hierdiff needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  echo "python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV); the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' || { \
	  echo "pip could not install (see the line above); is the package index reachable? try: $(BIN)/python -m pip download --no-deps -d /tmp click" >&2; exit 1; }
	@touch $@
