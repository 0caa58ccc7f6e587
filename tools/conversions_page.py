"""``make docs``: the tables of docs/conversions.md, from what the planner says of every type."""
# ruff: noqa: INP001  a script

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.ml.linalg import VectorUDT
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.errors import PlanError, Problem
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import (
    ANY,
    DATA_TYPES,
    Array,
    Category,
    Coded,
    Levels,
    Map,
    Member,
    ModelType,
    Object,
    OneOf,
    Tensor,
    holds_null,
)
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, settle
from spark_scoring.plan.request import Request
from spark_scoring.plan.scoring_plan import PlannedFeature
from spark_scoring.plan.verdicts import VERDICT_WORDS
from tools.made_tables import filled, table

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[1] / "docs" / "conversions.md"

_DOUBLE, _LONG, _TEXT = T.DoubleType(), T.LongType(), T.StringType()


def _struct(**members: T.DataType) -> T.StructType:
    return T.StructType([T.StructField(name, type_) for name, type_ in members.items()])


def _listed(*types: T.DataType) -> dict[str, T.DataType]:
    return {type_.simpleString(): type_ for type_ in types}


DECIMALS = {
    "decimal(1..9, 0)": T.DecimalType(9, 0),
    "decimal(10..18, 0)": T.DecimalType(18, 0),
    "decimal(19..38, 0)": T.DecimalType(38, 0),
    "decimal with a scale": T.DecimalType(12, 2),
}
"""One for all decimals that go by the same rules."""

SCALARS: dict[str, T.DataType] = {
    **_listed(T.BooleanType(), T.ByteType(), T.ShortType(), T.IntegerType(), _LONG, T.FloatType(), _DOUBLE),
    **DECIMALS,
    "string": _TEXT,
    "char": T.CharType(4),
    "varchar": T.VarcharType(40),
    "variant (its text)": T.VariantType(),
    **_listed(T.BinaryType(), T.DateType(), T.TimestampType(), T.TimestampNTZType()),
    "interval": T.CalendarIntervalType(),
    **_listed(T.DayTimeIntervalType(), T.YearMonthIntervalType()),
}
NESTED: dict[str, T.DataType] = {
    "array": T.ArrayType(_DOUBLE),
    "map": T.MapType(_TEXT, _DOUBLE),
    "struct": _struct(a=_DOUBLE),
    "ML vector": VectorUDT(),
}
_OBJECT = Object((Member("a", "double"), Member("b", "string", required=False)))
_INSIDE = (
    *(T.ArrayType(type_) for type_ in (_DOUBLE, _LONG, _TEXT, T.ArrayType(_DOUBLE))),
    T.MapType(_TEXT, _DOUBLE),
    T.MapType(_LONG, _DOUBLE),
    _struct(a=_DOUBLE, b=_TEXT),
    _struct(x=_DOUBLE, y=_DOUBLE, z=_DOUBLE),
)
INSIDE: dict[str, T.DataType] = {"ML vector": VectorUDT(), **{f"`{type_.simpleString()}`": type_ for type_ in _INSIDE}}
"""Nested types go by the rules of what is in them, so these stand for all others."""
INNER: tuple[ModelType, ...] = (
    Array("double"),
    Array("long"),
    Map("double"),
    _OBJECT,
    Tensor("double", (-1, 3)),
    Tensor("double", (-1, 2, 2)),
    ANY,
)

LEVELS = {
    "text": Levels("string", ("a", "b")),
    "long": Levels("long", (1, 2)),
    "double": Levels("double", (0.5, 1.5)),
    "boolean": Levels("boolean", (False, True)),
    "date": Levels("date", ("2026-01-31", "2026-02-28")),
}
POLICIES: dict[str, ModelType] = {
    **{name: name for name in DATA_TYPES},
    "category": Category(LEVELS["text"]),
    "code of a level": Coded("long", LEVELS["text"]),
    "value with a null among its levels": OneOf("string", LEVELS["text"], null=True),
    "value with none": OneOf("string", LEVELS["text"], null=False),
    "list": Array("double"),
    "map": Map("double"),
    "object": _OBJECT,
    "tensor of one double or float per row": Tensor("double", (-1, 1)),
    "any other tensor": Tensor("double", (-1, 3)),
    "AnyType": ANY,
}


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(page: str) -> str:
    """The page with the tables that belong between its marks.

    Raises:
        ValueError: a table has no marks, or marks have no table.

    """
    return filled(page, made_tables())


def made_tables() -> dict[str, str]:
    """Every table of the page, by the name in its marks."""
    columns = {**SCALARS, **NESTED, "void": T.NullType()}
    return {
        "data types": verdicts(columns, {name: name for name in DATA_TYPES}),
        "each data type": "\n\n".join(f"### {name}\n{conversions(SCALARS, name)}" for name in DATA_TYPES),
        "presets": presets(POLICIES),
        "levels": verdicts(columns, {name: Category(levels) for name, levels in LEVELS.items()}),
        "nested types": verdicts(INSIDE, {_code(str(type_)): type_ for type_ in INNER}),
    }


def planned(source: T.DataType, target: ModelType) -> PlannedFeature | Problem:
    """What a strict plan says of a column ``x`` of one type for a feature of another."""
    model = ModelSpec("models:/x/1", "x", "1", None, "0", "", "sklearn", (Feature("x", target),), "double")
    try:
        return make_plan(model, _struct(x=source), Request()).features[0]
    except PlanError as error:
        return error.problems[0]


def verdicts(sources: Mapping[str, T.DataType], targets: Mapping[str, ModelType]) -> str:
    """A row per group of source types that have the same verdicts, a column per model type."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, source in sources.items():
        cells = tuple(_verdict(planned(source, target)) for target in targets.values())
        rows.setdefault(cells, []).append(label)
    return table(["from", *targets], *([", ".join(labels), *cells] for cells, labels in rows.items()))


def conversions(sources: Mapping[str, T.DataType], target: ModelType) -> str:
    """A row per group of source types that are converted in the same way; those that are refused are left out."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, source in sources.items():
        feature = planned(source, target)
        if isinstance(feature, PlannedFeature):
            what = (
                VERDICT_WORDS[feature.verdict],
                feature.note or "the same value",
                feature.reason or "-",
            )
            rows.setdefault(what, []).append(label)
    headings = ["from", "verdict", "what happens", "what does not fit"]
    return table(headings, *([", ".join(labels), *what] for what, labels in rows.items()))


def presets(types: Mapping[str, ModelType]) -> str:
    """What the two presets do, by model type."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, type_ in types.items():
        strict, lenient = (
            settle(FeaturePolicy(preset=preset), type_, nullable=holds_null(type_)) for preset in ("strict", "lenient")
        )
        actions = (strict.nulls, lenient.nulls, lenient.invalid, lenient.absent or "refused")
        rows.setdefault(tuple(_action(action) for action in actions), []).append(label)
    return table(
        ["model type", "strict: null", "lenient: null", "lenient: does not fit", "lenient: no column"],
        *([", ".join(labels), *cells] for cells, labels in rows.items()),
    )


def _verdict(found: PlannedFeature | Problem) -> str:
    """The verdict; with a plus where not every value fits although the verdict is not ``checked``."""
    if isinstance(found, Problem):
        return "-"
    shown = VERDICT_WORDS[found.verdict]
    return shown if found.reason is None or found.verdict == "checked" else f"{shown} +"


def _action(action: Fill | str) -> str:
    if isinstance(action, Fill):
        return "missing" if action.value is None else str(action.value).lower()
    return {"keep": "stays missing", "bad_row": "bad row"}.get(action, action)


def _code(type_: str) -> str:
    """A nested type's name; Markdown would read it as a tag."""
    return "AnyType" if type_ == ANY else f"`{type_}`"


if __name__ == "__main__":
    main()
