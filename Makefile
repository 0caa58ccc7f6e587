BIN := .venv/bin

.PHONY: help setup demo test lint unit docs bench bench-features lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: ## .venv with everything that is pinned in constraints.txt
	@tools/setup.sh

demo: setup ## score three months of real flights, from nothing
	@PYTHONPATH=. $(BIN)/python -m examples.flights.demo

test: lint ## all checks and all tests, the wheel's included
	@tools/setup.sh tests
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: setup ## the tests that need no Spark
	$(BIN)/python -m pytest tests/unit

docs: setup ## the tables of docs/conversions.md, from the code
	$(BIN)/python tools/conversions_page.py

bench: setup ## the README's figures, as ratios from one run
	$(BIN)/python benchmarks/stages.py
	$(BIN)/python benchmarks/planning.py

bench-features: setup ## our point-in-time joins against dbl-tempo's, as ratios from one run
	@test -d benchmarks/.tempo || \
	  $(BIN)/python -m pip install --quiet --no-deps --target benchmarks/.tempo -r benchmarks/tempo.txt
	$(BIN)/python benchmarks/features.py

LOCK := uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
	  --extra local --extra lightgbm --extra xgboost --extra demo --extra dev --custom-compile-command "make lock"

lock: ## pin anew what the demo and the tests install
	$(LOCK) --output-file constraints.txt
	$(LOCK) --extra zoo --constraint constraints.txt --output-file tests/constraints.txt

clean: ## remove what setup and the demo made
	rm -rf .venv examples/flights/data benchmarks/.tempo dist
