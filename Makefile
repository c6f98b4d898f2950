# make demo: the whole line on real photographs.  make test: all tests.  make check: what must be green before a commit.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
INSTALLED := $(VENV)/.installed

.PHONY: install demo test check format clean

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/rayae demo out=$(OUT)

test: $(INSTALLED)
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rayae needs Python 3.11 or newer; set PYTHON=")'
	@echo "installing about 2 GB into $(VENV), which takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev,s3]' \
	    --config-settings editable_mode=compat  # a plain path: a folder named rayae beside a user must not hide the package
	@touch $@
