# Every target sets itself up in .venv; all it needs is Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Tests start some hundred processes: none of them should compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

QUESTION := When does mixing different models pay, and when is one model sampled several times better?
DOCUMENT := examples/documents/mixture-of-agents.md

.DEFAULT_GOAL := help
.PHONY: help demo test test-postgres coverage soak check format generate bench bench-eval clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.stamp-run  ## answer a question about a document with embedded models: no key, no network
	$(BIN)/moa run graphs/quickstart.yaml "$(QUESTION)" --context $(DOCUMENT) --show-proposals

test: $(VENV)/.stamp-test  ## run all tests but those of PostgreSQL
	$(BIN)/pytest -n auto -m 'not postgres'

test-postgres: $(VENV)/.stamp-test  ## run the tests that need a real PostgreSQL; root gets it installed where it is missing
	@$(BIN)/python -m tests.fakes.postgres
	MOA_TEST_POSTGRES=required $(BIN)/pytest -n auto -m postgres

# Apart from `test`, for tracing doubles the time.
coverage: $(VENV)/.stamp-test  ## run all tests, those of PostgreSQL too; fails under 95 % line and branch coverage
	@$(BIN)/python -m tests.fakes.postgres
	MOA_TEST_POSTGRES=required $(BIN)/pytest -n auto --cov --cov-report=
	$(BIN)/coverage report

soak: $(VENV)/.stamp-test  ## kill 60 runs on each store at random points, under load; MOA_CRASH_ROUNDS says how many
	@$(BIN)/python -m tests.fakes.postgres
	MOA_CRASH_ROUNDS=$${MOA_CRASH_ROUNDS:-60} MOA_TEST_POSTGRES=required \
		$(BIN)/python -m tests.fakes.burners $(BIN)/pytest -n 4 tests/runs/test_crash.py tests/runs/test_crash_postgres.py

check: $(VENV)/.stamp-test  ## style, types, generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/moa schema | diff moa-spec.schema.json -
	@cp docs/cli.md $(VENV)/cli.md && $(BIN)/python -m moa_graph.cli.manual $(VENV)/cli.md
	diff docs/cli.md $(VENV)/cli.md

format: $(VENV)/.stamp-test  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generate: $(VENV)/.stamp-test  ## write the generated files anew
	$(BIN)/moa schema > moa-spec.schema.json
	$(BIN)/python -m moa_graph.cli.manual docs/cli.md

bench: $(VENV)/.stamp-bench  ## measure, and write docs/benchmarks.md
	$(BIN)/python -m bench.run

bench-eval: $(VENV)/.stamp-bench  ## compute on recorded answers (MOA_SHARED_DATA), and write them into docs/evaluation.md
	$(BIN)/python -m bench.evaluation

clean:  ## take away .venv and everything that was generated locally
	rm -rf $(VENV) dist build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .langgraph_api
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says what is installed; editing pyproject.toml makes it stale. Pip is renewed first: the one that
# comes with an old Python resolves slowly.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("moa_graph needs Python 3.11 or later; try: make PYTHON=python3.11 …" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip

$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	@echo "Installing moa_graph …"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.stamp-%: pyproject.toml | $(BIN)/python
	@echo "Installing moa_graph with the extra '$*' …"
	@$(PIP) --editable '.[$*]'
	@touch $@ $(VENV)/.stamp-run
