# Every target makes the virtual environment and installs what it needs by itself.
# PYTHON chooses the interpreter, ARGS goes to the program a target runs:
#   make test PYTHON=python3.13      make demo ARGS=src      make test ARGS="-k keys"

PYTHON ?= python3
VENV := .venv
ARGS ?=

RUN := $(VENV)/bin/python -m

# pyright asks a registry on each run whether a newer one is out: the project decides that.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# A search path set for something else must not stand in front of what is installed here.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo django-demo screenshots django-load first-hour test coverage embedded docs faults kills counts applications fuzz aws clients check-coherence near large lint servers format bench clean python dev

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

demo: python  ## Run the example; ARGS="DIRECTORY ..." is passed on.
	@"$(PYTHON)" scripts/environment.py $(VENV)
	@$(VENV)/bin/python examples/count_identifiers.py $(ARGS)

django-demo: dev  ## Serve a small Django site on maps, with its admin; ARGS=8080: the port.
	@$(VENV)/bin/python examples/django_site/demo.py $(ARGS)

screenshots: dev  ## Take the documentation's pictures of the admin anew.
	@$(VENV)/bin/python scripts/screenshots.py $(ARGS)

django-load: dev  ## Load that site for 30 s under threads and 30 s under ASGI.
	@$(VENV)/bin/python -m tests.django.load $(ARGS)

docs: dev  ## Build the documentation as a site, into site/.
	@echo "== docs"
	@$(RUN) sphinx --quiet --fail-on-warning --keep-going -c docs -d build/doctrees . site || \
		{ rm -rf build/doctrees; exit 1; }  # so that it warns again of pages that did not change

first-hour: servers  ## Follow the documentation as a new user, and write down what it looks like.
	@"$(PYTHON)" -m tests.first_hour

test: lint servers docs  ## Check everything: the linters, then all tests and doctests. CI runs this.
	@$(VENV)/bin/python scripts/django_tests.py
	@echo "== pytest"
	@$(RUN) pytest -n 2 $(ARGS)

coverage: dev servers  ## Run all tests under coverage.py, their subprocesses too; fail below the figure.
	@$(RUN) coverage erase
	@$(RUN) coverage run -m pytest -n 2 $(ARGS)
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report

embedded: dev  ## Run the tests that need no server, without what only POSIX systems have.
	@$(VENV)/bin/python -m checks.embedded --without-posix $(ARGS)

faults: dev servers  ## Let clients of DynamoDB work under faults for a minute, not seconds.
	@$(RUN) pytest tests/consistency/test_dynamodb_faults.py --fault-seconds=60 $(ARGS)

kills: dev  ## Kill a process that writes to SQLite a hundred times: what it acknowledged is there.
	@$(RUN) pytest tests/stores/test_sqlite_commit.py -n 0 -k test_kills --kills=100 --timeout=1200 $(ARGS)

fuzz: dev  ## Fuzz what others may write, for two minutes; ARGS="--minutes 10".
	@$(VENV)/bin/python -m tests.fuzz $(ARGS)

aws: dev  ## Hold the DynamoDB store against AWS: LPCM_TEST_DYNAMODB_URL names a table.
	@$(RUN) pytest conformance/test_aws.py $(ARGS)

counts: dev servers  ## Let eight processes make 1,000 of each live change, on each store.
	@$(RUN) pytest tests/consistency/test_live.py --changes=1000 --durations=0 $(ARGS)

applications: dev servers  ## Load each application server for 300 rounds, not 12; 150 tasks of Celery.
	@$(RUN) pytest tests/applications --application-rounds=300 --application-tasks=150 \
		--timeout=1800 --durations=0 $(ARGS)

clients: python servers  ## Run other projects' own tests over maps; ARGS="limits --store sqlite".
	@"$(PYTHON)" scripts/environment.py .clients/venv clients
	@.clients/venv/bin/python -m checks.clients $(ARGS)

check-coherence: dev servers  ## Search every interleaving, record histories under faults (40 minutes).
	@$(VENV)/bin/python -m checks.explorer.scenarios $(ARGS)
	@$(VENV)/bin/python -m checks.explorer.near
	@$(VENV)/bin/python -m checks.explorer.large
	@$(VENV)/bin/python -m checks.histories

near: dev  ## Let a writer and three readers share a file for ten minutes: no near hit is stale.
	@$(RUN) pytest tests/consistency/test_near_cache.py --near-seconds=600 --timeout=1800 $(ARGS)

large: dev servers  ## Kill clients of values in parts for ten minutes: each is old or new, none is mixed.
	@$(RUN) pytest tests/consistency/test_large_faults.py -n 0 --large-seconds=600 --timeout=1800 $(ARGS)

lint: dev  ## Check style, layers and types only: ruff, import-linter, mypy, pyright.
	@echo "== ruff check"
	@$(RUN) ruff check .
	@echo "== ruff format --check"
	@$(RUN) ruff format --check .
	@echo "== import-linter"
	@$(VENV)/bin/lint-imports
	@echo "== mypy"
	@$(RUN) mypy
	@echo "== pyright"
	@$(RUN) pyright

servers: python  ## Install the servers the tests run on: memcached, dynoxide, ExtendDB.
	@"$(PYTHON)" scripts/servers.py

format: dev  ## Rewrite the sources as ruff wants them.
	@$(RUN) ruff check --fix-only --quiet .
	@$(RUN) ruff format .

bench: python  ## Measure lpcm against its alternatives; ARGS is passed on.
	@"$(PYTHON)" scripts/environment.py $(VENV) bench
	@$(VENV)/bin/python benchmarks/run.py $(ARGS)

clean:  ## Remove the virtual environment, caches and built packages (no database).
	rm -rf $(VENV) .clients build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

dev: python
	@"$(PYTHON)" scripts/environment.py $(VENV) dev docs

python:
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "no $(PYTHON) here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lpcm needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1): name another: make PYTHON=python3.12" >&2; exit 1; }
