"""The recipes of docs/architecture.md: made-up things are added to a copy of the package, where they say alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Recipe:
    """What is added, where, and what then holds."""

    rows: tuple[str, ...]
    """Of the page's table, by how they begin."""
    edits: dict[str, tuple[tuple[str, str], ...]]
    """File -> texts that occur once in it, and what takes their place."""
    shows: str
    """A script that fails where the recipe does not hold."""


CONVERSION, TYPE, FIELD, ERROR = (
    "add a conversion between a Spark type and a model type",
    "add a type of MLflow's",
    "add a field to a job",
    "change the words of an error",
)
_NAMED = (('Conversion = Literal[\n    "same",', 'Conversion = Literal[\n    "euros",\n    "same",'),)
_LISTED = (
    (
        "from spark_scoring.conversions.numbers import Narrow,",
        "from spark_scoring.conversions.numbers import Euros, Narrow,",
    ),
    ('    "same": Same(),', '    "euros": Euros(),\n    "same": Same(),'),
)
_CONVERSION = '''class Euros(Conversion):
    """Cents as euros."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return f"({source}.cents / 100D)", None

    def in_python(self, value: dict[str, int], pair: Pair) -> tuple[float, bool]:
        return value["cents"] / 100, True


class Narrow(Conversion):'''

RECIPES = {
    "a type of Spark's": Recipe(
        (CONVERSION,),
        {
            "plan/verdicts.py": _NAMED,
            "plan/scalar_rules.py": (
                ("_KINDS = {", '_KINDS = {\n    "MoneyType": "money",'),
                ('    "double": {', '    "double": {\n        "money": Rule("exact", "euros", "in euros"),'),
            ),
            "conversions/numbers.py": (("class Narrow(Conversion):", _CONVERSION),),
            "conversions/table.py": _LISTED,
        },
        """
from pyspark.sql.types import DataType, StructField, StructType
from spark_scoring.conversions.table import pair_of
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.request import Request

class MoneyType(DataType):
    pass

spec = ModelSpec("m", None, None, None, "", "", "python_function", (Feature("price", "double"),), "double")
plan = make_plan(spec, StructType([StructField("price", MoneyType())]), Request())
pair = pair_of(plan.features[0])
assert (plan.features[0].verdict, plan.features[0].note) == ("exact", "in euros")
assert pair.in_spark("`price`") == ("(`price`.cents / 100D)", None)
assert pair.in_python({"cents": 250}) == (2.5, True)
""",
    ),
    "a type of MLflow's": Recipe(
        (CONVERSION, TYPE),
        {
            "model/types.py": (
                (
                    '    "datetime": Scalar(',
                    '    "tiny": Scalar("int", "int8", (0, 10), spark="int"),\n    "datetime": Scalar(',
                ),
            ),
            "plan/scalar_rules.py": (
                ('    "double": {', '    "tiny": {"integer": _RANGE, "string": _WHOLE_TEXT},\n    "double": {'),
            ),
        },
        """
from types import SimpleNamespace
from pyspark.sql.types import IntegerType, StringType
from spark_scoring.conversions.table import CONVERSIONS
from spark_scoring.conversions.base import Pair
from spark_scoring.model.signature import model_type
from spark_scoring.plan.rules import rule_for

tiny = model_type(SimpleNamespace(name="tiny"))
for source, good, bad in ((IntegerType(), 9, 10), (StringType(), "9", "10")):
    rule = rule_for(source, tiny)
    assert rule.verdict == "checked"
    pair = Pair(tiny, source.simpleString(), CONVERSIONS[rule.conversion])
    assert pair.in_python(good) == (9, True)
    assert not pair.in_python(bad)[1]
    assert "10" in pair.in_spark("`x`")[1]
""",
    ),
    "an error": Recipe(
        (ERROR,),
        {
            "delta/errors.py": (
                (
                    "class BadRowsError(RunError):\n",
                    'class FullMoonError(RunError):\n    """The moon."""\n\n\nclass BadRowsError(RunError):\n',
                ),
            ),
        },
        """
from spark_scoring.delta.errors import FullMoonError
from spark_scoring.errors import Problem, ScoringError

try:
    raise FullMoonError([Problem("moon", "it is full", "wait two weeks")])
except ScoringError as error:
    assert "it is full" in str(error) and "wait two weeks" in str(error)
""",
    ),
    "a field of a job": Recipe(
        (FIELD,),
        {
            "job.py": (
                ("    force: bool = False", '    mood: Literal["calm", "cross"] = "calm"\n    force: bool = False'),
            )
        },
        """
import spark_scoring as ss

fields = {"model": "models:/m/1", "source": "a", "output": "b"}
assert ss.ScoringJob.from_dict(fields).mood == "calm"
assert ss.ScoringJob.from_dict({**fields, "mood": "cross"}).mood == "cross"
try:
    ss.ScoringJob.from_dict({**fields, "mood": "cros", "modd": "calm"})
except ss.JobError as error:
    assert "did you mean mood?" in str(error) and "cross" in str(error)
""",
    ),
}


@pytest.mark.parametrize("what", RECIPES)
def test_a_made_up_thing_is_added_where_the_page_says(what: str, tmp_path: Path) -> None:
    recipe, package = RECIPES[what], tmp_path / "spark_scoring"
    told = "\n".join(line for line in PAGE.splitlines() for row in recipe.rows if line.startswith(f"| {row} |"))
    assert told.count("\n") == len(recipe.rows) - 1
    shutil.copytree(ROOT / "spark_scoring", package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, edits in recipe.edits.items():
        named = re.search(rf"`({re.escape(file)}|{re.escape(file.rpartition('/')[0])}/|{Path(file).name})`", told)
        assert named, f"the page does not say to touch {file}"
        code = (package / file).read_text(encoding="utf-8")
        for old, new in edits:
            assert code.count(old) == 1, (file, old)
            code = code.replace(old, new)
        (package / file).write_text(code, encoding="utf-8")
    command = [sys.executable, "-c", recipe.shows]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
