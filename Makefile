# Two commands do everything on a machine with Python 3.11+ and make:
#   make postcards    four guided postcards and a contact sheet under postcards/
#   make test         every check that CI runs
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: postcards test check bench docs docs-pictures clean

postcards: .venv/postcards
	$(BIN)/ukiyoe generate --prompt "a sakura tree" --color "#c98a8a" --seed 7 --count 4 --output postcards
	@echo "Your postcards: $(CURDIR)/postcards/contact-sheet.png"

test: .venv/test
	$(MAKE) check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pydoclint src
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

bench:
	$(BIN)/python benchmarks/run.py

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The documentation: $(CURDIR)/site/index.html"

docs-pictures: .venv/postcards
	$(BIN)/python scripts/docs_pictures.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/postcards: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[app,text,train,eval,docs,dev]'
	@touch $@ .venv/postcards .venv/docs

.venv/docs: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	@touch $@

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache
