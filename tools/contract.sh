#!/bin/sh
# Runs the contract tests against Databricks' feature engineering client and the models of its bundles, which no other
# test needs. They are put beside .venv, not into it. Needs `make setup`.
set -eu
cd "$(dirname "$0")/.."
wanted=$(cksum tests/contract.txt)
if [ "$(cat .contract/.installed 2>/dev/null)" != "$wanted" ]; then
    rm -rf .contract
    tools/install.sh --target .contract -r tests/contract.txt
    echo "$wanted" > .contract/.installed
fi
PYTHONPATH=.contract .venv/bin/python -m pytest -p no:cacheprovider \
    tests/registration/test_databricks_contract.py tests/unit/test_bundle_contract.py "$@"
