BIN := .venv/bin

.PHONY: help setup demo test lint unit bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: ## .venv with everything that is pinned in constraints.txt
	@tools/setup.sh

demo: setup ## score three months of real flights, from nothing
	@PYTHONPATH=. $(BIN)/python -m examples.flights.demo

test: lint ## all checks and all tests, the wheel's included
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: setup ## the tests that need no Spark
	$(BIN)/python -m pytest tests/unit

bench: setup ## the README's figures, as ratios from one run
	$(BIN)/python benchmarks/stages.py

lock: ## pin anew what CI and the demo install
	uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
	  --extra local --extra lightgbm --extra xgboost --extra demo --extra dev \
	  --custom-compile-command "make lock" --output-file constraints.txt

clean: ## remove what setup and the demo made
	rm -rf .venv examples/flights/data dist
