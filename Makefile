# Two commands for users: `make run` and `make test`. Everything installs into .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV ?= .venv
A1111 ?= .venv-a1111
GRADIO4 ?= .venv-gradio4
# torch 2.1.2, the webui's, has wheels up to Python 3.11
PICK = import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))
A1111_PYTHON ?= $(or $(shell for p in $(PYTHON) python3.11 python3.10; do $$p -c '$(PICK)' 2>/dev/null && echo $$p && break; done),$(PYTHON))
PY = $(VENV)/bin/python
# one process for each core, at most four: each loads torch and a model
PYTEST = -m pytest -n auto --maxprocesses 4 --dist loadfile
PIP = -m pip install --quiet --disable-pip-version-check

.PHONY: setup run test test-slow test-a1111 test-gradio4 lint format bench clean help

help:            ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready-run $(VENV)/.ready-dev  ## install everything into .venv

run: $(VENV)/.ready-run  ## open the ranking board at http://127.0.0.1:7861
	$(PY) -m lib_rankopt serve

test: setup      ## the default test suite
	$(PY) $(PYTEST)

test-slow: setup ## the slow tests too
	$(PY) $(PYTEST) -m "slow or not slow"

test-a1111: $(A1111)/.ready  ## the suite under the pins of AUTOMATIC1111's webui v1.10.1 (Python 3.10 or 3.11)
	$(A1111)/bin/python $(PYTEST)

test-gradio4: $(GRADIO4)/.ready  ## page, API and board under the gradio, FastAPI and pydantic of Forge
	$(GRADIO4)/bin/python $(PYTEST) tests/ui tests/api tests/browser

lint: setup      ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m mypy

format: setup
	$(PY) -m ruff check --fix .

bench: setup     ## every benchmark, each against a named peer
	for b in benchmarks/[a-z]*.py; do $(PY) -m benchmarks.$$(basename $$b .py) || exit 1; done

# A venv that fails half-way (Debian without python3-venv) must not be taken for one at the next try.
NEW_VENV = -m venv $(1) || { rm -rf $(1); echo "Python could not make $(1); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/bin/python:
	$(PYTHON) $(call NEW_VENV,$(VENV))

$(VENV)/.ready-run: requirements/standalone.txt requirements/nodeps.txt | $(VENV)/bin/python
	$(PY) $(PIP) -r requirements/standalone.txt
	$(PY) $(PIP) --no-deps -r requirements/nodeps.txt
	touch $@

$(VENV)/.ready-dev: requirements/dev.txt requirements/nodeps-dev.txt $(VENV)/.ready-run
	$(PY) $(PIP) -r requirements/dev.txt
	$(PY) $(PIP) --no-deps -r requirements/nodeps-dev.txt
	touch $@

$(A1111)/.ready: requirements/a1111.txt requirements/constraints-a1111-1.10.1.txt requirements/nodeps.txt requirements/nodeps-dev.txt
	$(A1111_PYTHON) $(call NEW_VENV,$(A1111))
	$(A1111)/bin/python $(PIP) "setuptools<70" wheel
	$(A1111)/bin/python $(PIP) -r requirements/a1111.txt -c requirements/constraints-a1111-1.10.1.txt
	$(A1111)/bin/python $(PIP) --no-deps -r requirements/nodeps.txt -r requirements/nodeps-dev.txt
	touch $@

$(GRADIO4)/.ready: requirements/gradio4.txt
	$(PYTHON) $(call NEW_VENV,$(GRADIO4))
	$(GRADIO4)/bin/python $(PIP) -r requirements/gradio4.txt
	touch $@

clean:           ## remove the environments and caches (never your data)
	rm -rf $(VENV) $(A1111) $(GRADIO4) .pytest_cache .mypy_cache .ruff_cache
