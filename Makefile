# Two commands: `make demo` runs the main job, `make test` checks everything.
# Both make the same .venv; PYTHON names the interpreter that it is made with (3.11 or newer).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-lowest lint docs clean

demo: $(VENV)/.installed
	$(BIN)/benchkit demo --out demo-out

# One worker per core; one thread per worker, because the tests do small sums.
test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

# The tests on the lower bounds of the dependencies, in an environment of their own.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet -r tests/lowest.txt pytest hypothesis scikit-learn 'setuptools>=77'
	.venv-lowest/bin/pip install --quiet --no-deps --editable .
	.venv-lowest/bin/pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages and tables that are generated from the methods and the ledger.
docs: $(VENV)/.installed
	$(BIN)/python scripts/generate_docs.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "benchkit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .venv-lowest demo-out build dist *.egg-info
