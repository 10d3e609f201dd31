# Two commands do everything, set-up included: `make demo` and `make test`.
# The first interpreter that runs and is new enough; a name on the PATH may be an empty shim.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

# Bytecode is kept even where the environment says otherwise: hundreds of tests start a process of their own.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install extras demo test long check lint types layers docs bench mutants lock clean

install: $(READY)

$(READY): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on the PATH; name one: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# What the tests of training, Ray and Parquet need beside: .ci/run calls it. Where torch's CPU build is not to be had, its tests skip.
EXTRAS := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
extras: $(READY)
	$(EXTRAS) -r requirements/extras.lock
	$(EXTRAS) -r requirements/torch.lock || echo "no CPU build of torch: the tests of training will skip"

# Real models answer, review and revise a few requests on this machine. Where the larger one cannot be had, that part is left out.
demo: $(READY)
	@$(BIN)/conscience pull qwen2.5-coder-1.5b || true
	@$(BIN)/python examples/demo.py

# Every test but the long ones, side by side on two cores, one more at a time than there are cores since many wait for a server;
# the tests of the embedded model share one worker and one server. The last lines name what was left out.
PYTEST := $(BIN)/python -m pytest --dist loadgroup

test: $(READY)
	$(PYTEST) -n 3 -m "not long"

long: $(READY)
	$(PYTEST) -n 3 -m long

# Style, types, who may import whom, and a documentation whose links and names all lead somewhere.
check: lint types layers docs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-cache

# The site, into site/. The variable silences an announcement of its theme.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Ratios, not absolute times: read them on a quiet machine.
bench: $(READY)
	$(BIN)/python tests/bench/overhead.py

# Breaks the code on purpose, once for each of a list of mistakes: each must turn a test red.
mutants: $(READY)
	$(BIN)/python tests/mutants.py

# Writes the locks anew from what the .in files name, keeping the versions that they hold. Needs uv. The overrides keep out an
# engine that the weights' package declares and that compiles for minutes, and torch, whose CPU build no index has.
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --no-emit-package dspy-conscience

lock:
	$(COMPILE) --overrides requirements/overrides.txt requirements/dev.in -o requirements/dev.lock
	$(COMPILE) --overrides requirements/extras-overrides.txt -c requirements/dev.lock requirements/extras.in -o requirements/extras.lock

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
