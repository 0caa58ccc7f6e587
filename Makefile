BIN := .venv/bin
# A file belongs to one process; whole jobs come first, and what is quick at the end: both processes end together.
IN_ORDER := --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-long contract test-versions lint unit test-faults fuzz docs site bench bench-features bench-job lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: ## .venv with everything that is pinned in constraints.txt
	@tools/setup.sh

demo: setup ## score three months of real flights, from nothing
	@PYTHONPATH=. $(BIN)/python -m examples.flights.demo

test: lint ## all checks, and one test or more of all that there is, the wheel's included
	@tools/setup.sh tests
	$(BIN)/python -m pytest tests/faults  # first: it wants the machine for itself, and fetches Delta's jars for the others
	$(BIN)/python -m pytest --ignore tests/faults -m "not long" --numprocesses 2 $(IN_ORDER) --durations 25

test-long: setup ## further forms of what the tests hold, which `make test` leaves out: an hour
	@tools/setup.sh tests
	$(BIN)/python -m pytest -m long --numprocesses 2 $(IN_ORDER)

contract: setup ## our calls and bundles against Databricks' own client and models, which it installs beside .venv
	@tools/setup.sh tests
	tools/contract.sh

test-versions: ## tests/spark and tests/e2e with Spark 3.5 and 4.0, which it installs beside .venv
	@tools/setup.sh tests
	tools/versions.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: setup ## the tests that need no Spark
	$(BIN)/python -m pytest tests/unit

test-faults: setup ## kill, fill and crowd runs at many points, and compare what they leave; half an hour
	@PYTHONPATH=. $(BIN)/python -m tests.faults

SEED ?= 1
COUNT ?= 400
fuzz: setup ## odd requests from a seed: make fuzz SEED=7 COUNT=1000
	@PYTHONPATH=. $(BIN)/python -W ignore -m tests.fuzz --seed $(SEED) --count $(COUNT)

docs: setup ## the tables of docs/, the JSON Schemas and the example of a bundle, from the code
	PYTHONPATH=. $(BIN)/python tools/conversions_page.py
	PYTHONPATH=. $(BIN)/python tools/registration_page.py
	PYTHONPATH=. $(BIN)/python tools/reference_pages.py
	PYTHONPATH=. $(BIN)/python tools/bundle_example.py

site: setup ## docs/ as a site in site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup ## figures of docs/benchmarks.md, as ratios from one run
	$(BIN)/python benchmarks/stages.py
	PYTHONPATH=. $(BIN)/python benchmarks/native.py
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/rehearsal.py
	PYTHONPATH=. $(BIN)/python benchmarks/tasks.py
	PATH=$(CURDIR)/$(BIN):$$PATH PYTHONPATH=. $(BIN)/python benchmarks/environments.py

bench-features: setup ## our point-in-time joins against dbl-tempo's, as ratios from one run
	@test -d benchmarks/.tempo || \
	  $(BIN)/python -m pip install --quiet --no-deps --target benchmarks/.tempo -r benchmarks/tempo.txt
	PYTHONPATH=. $(BIN)/python benchmarks/features.py

bench-job: setup ## 10 million rows through a whole job: time, memory, and what each guarantee costs
	$(BIN)/python benchmarks/job.py

LOCK := uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
	  --extra local --extra connect --extra lightgbm --extra xgboost --extra demo --extra dev --custom-compile-command "make lock"

lock: ## pin anew what the demo and the tests install
	$(LOCK) --output-file constraints.txt
	$(LOCK) --extra zoo --constraint constraints.txt --output-file tests/constraints.txt
	uv pip compile tests/contract.in --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
	  --constraint constraints.txt --override tests/contract-overrides.txt --custom-compile-command "make lock" \
	  $$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' constraints.txt) --no-emit-package mlflow-skinny \
	  --output-file tests/contract.txt
	echo uv | uv pip compile - --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
	  --custom-compile-command "make lock" --output-file tools/uv.txt
	for version in 3.5 4.0; do uv pip compile tests/versions/$$version.in --no-config --no-deps --generate-hashes \
	  --no-annotate --quiet --custom-compile-command "make lock" --output-file tests/versions/$$version.txt || exit 1; done

clean: ## remove what setup and the demo made
	rm -rf .venv .contract .versions examples/flights/data benchmarks/.tempo dist site
