#!/bin/sh
# Runs tests with Spark 3.5 and 4.0, which are put beside .venv, not into it. Needs `tools/setup.sh tests`.
#   versions.sh                             tests/spark and tests/e2e with both: an hour and a half
#   versions.sh short                       with 3.5 one run or more of every mode: tests marked `short`
#   versions.sh 4.0 tests/e2e/test_cli.py   what pytest is told, with one of them
set -eu
cd "$(dirname "$0")/.."

make_place() {
    wanted=$(cksum "tests/versions/$1.txt" tools/versions.sh)
    [ "$(cat "$place/.installed" 2>/dev/null)" != "$wanted" ] || return 0
    echo "versions: getting Spark $1, a minute the first time"
    rm -rf "$place"
    tools/install.sh --target "$place" -r "tests/versions/$1.txt"
    PYTHONPATH=$place:$PWD .venv/bin/python -W ignore - <<'PYTHON'
# Delta's jars, fetched once for all tests.
from tempfile import mkdtemp

from spark_scoring.session import get_session

get_session(mkdtemp())
PYTHON
    echo "$wanted" > "$place/.installed"
}

run() {
    place=$PWD/.versions/$1
    make_place "$1"
    shift
    # As a session lives for minutes here, Java's slow and thorough compiler costs more than it gives.
    export JDK_JAVA_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    PYTHONPATH=$place:$PWD .venv/bin/python -m pytest -p no:cacheprovider "$@"
}

case ${1:-} in
    "")
        for version in 3.5 4.0; do
            run $version --numprocesses 2 --dist loadfile tests/spark tests/e2e
        done
        ;;
    short)
        shift
        run 3.5 -m short --numprocesses 2 --dist loadfile tests/e2e tests/spark/test_feature_tables.py "$@"
        ;;
    *) run "$@" ;;
esac
