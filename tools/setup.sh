#!/bin/sh
# Makes .venv with what constraints.txt pins, once per change of it. Needs Python 3.10+ and Java 17+.
# `setup.sh tests` adds what the tests' model zoo is made of: 2.5 GB of downloads, most of it torch's.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n       %s\n' "$1" "$2" >&2
    exit 2
}

python=""
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "no Python 3.10 to 3.13 found." "Install python3 (Debian: apt-get install python3 python3-venv) or set PYTHON."

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || version=""
[ -n "$version" ] || fail "no Java found." "Install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME."
[ "$version" -ge 17 ] || fail "Java $version is too old." "Install Java 17 or newer and set JAVA_HOME to it."

digest() {
    "$python" -c 'import hashlib, sys; print(sys.version.split()[0], *(hashlib.sha256(open(f, "rb").read()).hexdigest() for f in sys.argv[1:]))' "$@"
}

pip=".venv/bin/python -m pip --disable-pip-version-check --quiet"
add_zoo() {
    [ "${1:-}" = tests ] || exit 0
    wanted=$(digest tests/constraints.txt)
    if [ "$(cat .venv/.zoo 2>/dev/null)" != "$wanted" ]; then
        echo "setup: adding the model zoo of the tests"
        tools/install.sh -r tests/constraints.txt
        echo "$wanted" > .venv/.zoo
    fi
    # conftest.py gives it to the tests: each of the many Java processes that they start costs half.
    ls .venv/cache/*/classes-*.jsa >/dev/null 2>&1 || SPARK_SCORING_CACHE=$PWD/.venv/cache .venv/bin/spark-scoring prepare
    exit 0
}

stamp=.venv/.installed
wanted=$(digest constraints.txt pyproject.toml tools/setup.sh)
[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || add_zoo "$@"

echo "setup: making .venv with $("$python" --version), some minutes the first time"
rm -rf .venv
"$python" -m venv .venv || fail "Python cannot make a virtual environment." "Debian: apt-get install python3-venv"
# uv does not read pip's settings: where these name another index, pip installs all.
if [ -z "${PIP_INDEX_URL:-}" ] && ! $pip config get global.index-url >/dev/null 2>&1; then
    $pip install --require-hashes --no-deps -r tools/uv.txt || true
fi
tools/install.sh -r constraints.txt
$pip install --no-deps --no-build-isolation --editable .
echo "$wanted" > "$stamp"
add_zoo "$@"
