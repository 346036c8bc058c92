# `make study` and `make test` set everything up by themselves; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
STAMP := $(VENV)/.installed-$(or $(TORCH_BACKEND),default)
ARGS ?=
# A study and its tests start several processes that import the same libraries: compiled once, these load twice as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study test notebook lint docs setup lock clean bench

study: setup
	$(BIN)/maskbench run $(ARGS)

# By file: a study that a whole module tests is made once and not once a process.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not notebook" $(ARGS)

# Runs the notebook from start to end on the sample; any error in a cell fails.
notebook: setup
	$(BIN)/python -m pytest -m notebook tests/test_notebook.py $(ARGS)

lint: setup
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/lint-imports
	$(BIN)/mypy

# The site, into site/: from docs/ and the code, without network; a warning is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: setup
	$(BIN)/maskbench bench $(ARGS)

setup: $(STAMP)

# The stamp is newer than everything that decides what is installed, so a second call does nothing.
$(STAMP): $(LOCK) pyproject.toml scripts/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" LOCK="$(LOCK)" TORCH_BACKEND="$(TORCH_BACKEND)" sh scripts/setup.sh
	@rm -f $(VENV)/.installed-*
	@touch $@

lock: setup
	$(BIN)/python -m uv --version >/dev/null 2>&1 || uv --version >/dev/null
	sh scripts/lock.sh

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache site
