"""The README's quickstart, run as it is written, in a folder of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import environment_apart, in_short

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# One process for several blocks, since each Spark costs seconds. What is not run is an error, but for pip.
_RUN = """
import json, shlex, sys
from spark_scoring.cli import main

for language, text in json.loads(sys.argv[1]):
    if language == "python":
        exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
        continue
    for line in filter(None, (shlex.split(line, comments=True) for line in text.splitlines())):
        if line[:2] == ["pip", "install"]:
            continue
        assert line[0] == "spark-scoring", line
        try:
            main(line[1:])
        except SystemExit as end:
            assert not end.code, (line, end.code)
"""


def run(blocks: Sequence[tuple[str, str]], folder: Path) -> str:
    """What the blocks print."""
    command = [sys.executable, "-c", _RUN, json.dumps(blocks)]
    done = subprocess.run(command, cwd=folder, env=environment_apart(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# What the README says below the quickstart.
_CLAIMED = """
spark-scoring score returns.yml
spark-scoring score returns.yml --set 'policy={items: {nulls: {fill: 1}}}' --set output.table=shop.filled
spark-scoring score returns.yml --set bad_rows=quarantine --set output.table=shop.apart
"""


@pytest.fixture(scope="module", params=in_short(1, ["one Spark", "a new Spark for the commands"]))
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the quickstart prints from the first command on; readers have a new Spark for it."""
    folder = tmp_path_factory.mktemp("quickstart")
    code = [*(block for block in BLOCKS if block[0] in ("python", "sh")), ("sh", _CLAIMED)]
    if request.param == "one Spark":
        return run(code, folder)
    last = next(n for n, (language, _) in enumerate(code) if language == "python")
    run(code[: last + 1], folder)
    return run(code[last + 1 :], folder)


def test_the_quickstart_scores_as_the_readme_shows(shown: str) -> None:
    (table,) = (text for language, text in BLOCKS if language == "text")
    assert table in shown


def test_the_plan_is_what_the_readme_says_of_it(shown: str) -> None:
    verdicts = re.findall(r"^(amount|items|express) +double +(\S+) +(\w+)", shown, re.MULTILINE)
    assert verdicts == [
        ("amount", "decimal(5,2)", "nearest"),
        ("items", "int", "exact"),
        ("express", "boolean", "exact"),
    ]


def test_what_the_readme_says_of_further_runs(shown: str) -> None:
    first, again, filled, apart = re.findall(r"^rows +(.*?) *$", shown, re.MULTILINE)
    assert (first, again) == ("4 in, 4 out, 1 bad (25.0%)",) * 2
    assert "made before" in shown
    assert filled == "4 in, 4 out, 0 bad"
    assert apart == "4 in, 3 out, 1 quarantined (25.0%)"


def test_every_block_has_a_language_that_is_run_or_compared() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh", "text"}
