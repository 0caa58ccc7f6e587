"""Times and nested types on edge values in Spark, against a computation in plain Python."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.engine.columns import Lane, extend, prepare
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Array, Category, Coded, Levels, Map, Member, ModelType, Object, OneOf, Tensor
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Expression, Request
from tests.models import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
NAT = -(2**63)
LAST = (2**63 - 1) // 1000
"""Microseconds that nanoseconds in 64 bits reach."""
SETTINGS = [
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"},
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "America/New_York"},
    {
        "spark.sql.ansi.enabled": "false",
        "spark.sql.session.timeZone": "Asia/Kolkata",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    },
]


Found: TypeAlias = "tuple[Any, str | None]"
"""A value in its lane, and what is wrong with it."""


@dataclass(frozen=True)
class Case:
    """Values of a column, and what each becomes in a feature's lane; in SQL the column is ``{x}``."""

    name: str
    source: str
    values: list[Any]
    target: ModelType
    expected: list[Found]
    policy: FeaturePolicy | None = None
    sql: str = "{x}"


def micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def in_range(value: int) -> Found:
    return (value, None) if -LAST <= value <= LAST else (None, "out of range")


# --- times ----------------------------------------------------------------------------------------------------------

DAYS = [
    dt.date(1, 1, 1),
    dt.date(1582, 10, 4),
    dt.date(1677, 9, 21),
    dt.date(1677, 9, 22),
    dt.date(1969, 12, 31),
    dt.date(1970, 1, 1),
    dt.date(2000, 2, 29),
    dt.date(2262, 4, 11),
    dt.date(2262, 4, 12),
    dt.date(9999, 12, 31),
]


INSTANTS = [0, 1, -1, LAST, -LAST, LAST + 1, -LAST - 1, 1762061400000000, 1762065000000001, -62135596800000000]
"""A repeated hour in New York among them, in microseconds."""


TEXTS = {
    "2026-01-31": "2026-01-31T00:00:00+00:00",
    " 2026-01-31T23:59 ": "2026-01-31T23:59:00+00:00",
    "2026-01-31 23:59:59": "2026-01-31T23:59:59+00:00",
    "2026-01-31T23:59:59.5Z": "2026-01-31T23:59:59.500000+00:00",
    "2026-01-31 23:59:59.123456+05:30": "2026-01-31T23:59:59.123456+05:30",
    "2026-01-31T00:00:00 -0800": "2026-01-31T00:00:00-08:00",
    "2024-02-29": "2024-02-29T00:00:00+00:00",
    "1677-09-21T00:12:43.145225": "1677-09-21T00:12:43.145225+00:00",
    "2262-04-11T23:47:16.854775Z": "2262-04-11T23:47:16.854775+00:00",
    "2262-04-12T00:00:00+14:00": "2262-04-12T00:00:00+14:00",
    "2025-11-02 01:30:00": "2025-11-02T01:30:00+00:00",
}
NO_TIMES = (
    *("", "now", "2026", "2026-1-31", "2026-02-29", "2026-13-01", "2026-01-31T24:00", "2026-01-31T23:60", "20260131"),
    *("2026-01-31T23:59:60", "2026-01-31T1:00", "2026-01-31T10:00:00.1234567", "2026-01-31T10:00+15:00", "epoch"),
    *(
        "2026-01-31T10:00:00 UTC",
        "2026-01-31\u2028",
        "\uff12\uff10\uff12\uff16-01-31",
        "12026-01-31",
        "-2026-01-31",
        "2026-01-31T",
    ),
    *("2262-04-12", "0001-01-01", "2262-04-11T23:47:16.854775-00:01"),
)


NO_TIME: Found = (NAT, None)
MOMENTS = [
    *(EPOCH + dt.timedelta(microseconds=m) for m in INSTANTS if abs(m) < LAST),
    *(dt.datetime(2026, 3, 8, 2, 30, tzinfo=UTC), dt.datetime(1, 1, 1, tzinfo=UTC)),  # New York has no 2:30
    *(dt.datetime(2262, 4, 11, 23, 47, 16, 854775, tzinfo=UTC), dt.datetime(9999, 12, 31, tzinfo=UTC)),
]
TIMES = [
    Case(
        "dates are midnight in UTC",
        "date",
        [*DAYS, None],
        "datetime",
        [*(in_range(micros(dt.datetime(d.year, d.month, d.day, tzinfo=UTC))) for d in DAYS), NO_TIME],
    ),
    Case(
        "timestamps are instants",
        "bigint",
        [*INSTANTS, None],
        "datetime",
        [*map(in_range, INSTANTS), NO_TIME],
        sql="timestamp_micros({x})",
    ),
    Case(
        "times without a zone are taken as UTC",
        "timestamp_ntz",
        [*(moment.replace(tzinfo=None) for moment in MOMENTS), None],
        "datetime",
        [*(in_range(micros(moment)) for moment in MOMENTS), NO_TIME],
    ),
    Case(
        "text is a time where it is ISO 8601",
        "string",
        [*TEXTS, *NO_TIMES, None],
        "datetime",
        [
            *((micros(dt.datetime.fromisoformat(text)), None) for text in TEXTS.values()),
            *[(None, "not a time in range")] * len(NO_TIMES),
            NO_TIME,
        ],
    ),
    Case(
        "a time may be filled in",
        "string",
        [None, "soon"],
        "datetime",
        [(micros(dt.datetime(2026, 1, 31, 11, tzinfo=UTC)), None), NO_TIME],
        FeaturePolicy(nulls=Fill("2026-01-31T12:00:00+01:00"), invalid="missing"),
    ),
]


# --- types in types, tensors ------------------------------------------------------------------------------------------

WRONG = (None, "a value inside does not fit")
NULL = (None, "null")
POINT = Object((Member("at", "long"), Member("Of", Array("string"), required=False)))
NESTED: list[tuple[str, ModelType, list[Any], list[Found]]] = [
    (
        "array<decimal(5,2)>",
        Array("double"),
        [[Decimal(1), None], [], None],
        [([1.0, None], None), ([], None), NULL],  # Arrow makes NaN of the null in an array of doubles
    ),
    ("array<double>", Array("long"), [[1.0, 2.0], [1.5], [None], []], [([1, 2], None), WRONG, WRONG, ([], None)]),
    ("array<string>", Array("integer"), [["1", " 2.0"], ["x"]], [([1, 2], None), WRONG]),
    (
        "array<array<int>>",
        Array(Array("float")),
        [[[1], []], [[16777217]], [None]],
        [([[1.0], []], None), ([[16777216.0]], None), WRONG],
    ),
    (
        "map<string,string>",
        Map("long"),
        [{"a": "1"}, {"a": "x"}, {}, {"a": None}],
        [({"a": 1}, None), WRONG, ({}, None), WRONG],
    ),
    (
        "struct<AT:string,more:int,of:array<int>>",
        POINT,
        [("7", 0, [1, None]), ("x", 0, None), ("8", 0, None), (None, 0, None), None],
        [({"at": 7, "Of": ["1", None]}, None), WRONG, ({"at": 8, "Of": None}, None), WRONG, NULL],
    ),
    (
        "array<struct<at:int>>",
        Array(POINT),
        [[(1,)], [None], [(None,)]],
        [([{"at": 1}], None), WRONG, WRONG],
    ),
]


THREE = "not 3 values of the tensor's type"
TENSORS = [
    Case(
        "tensors take arrays of their width",
        "array<int>",
        [[1, 2, 3], [1, 2], [1, 2, 3, 4], [1, 2, 300], [1, 2, None], None],
        Tensor("uint8", (-1, 3)),
        [([1, 2, 3], None), *[(None, THREE)] * 4, (None, "null")],
    ),
    Case(
        "tensors take structs field by field",
        "decimal(5,1)",
        [Decimal("0.5"), Decimal(2), None],
        Tensor("float", (-1, 3)),
        [([0.5, 0.0, 0.5], None), ([2.0, 1.0, 2.0], None), (["NaN"] * 3, None)],
        sql="struct({x}, {x} > 1, CAST({x} AS string))",
    ),
]


# --- levels -----------------------------------------------------------------------------------------------------------

TEXT = Levels("string", ("b", "a", "it's", "back\\slash", "ö", " a", ""))
MANY = Levels("string", (*TEXT.values, *(f"level {i}" for i in range(1000))))
LEVELS: list[tuple[str, Levels, list[Any], list[int | None]]] = [
    ("string", TEXT, [*TEXT.values, "A", "a ", "c"], [0, 1, 2, 3, 4, 5, 6, None, None, None]),
    ("string", MANY, [*TEXT.values, "level 999", "A"], [0, 1, 2, 3, 4, 5, 6, 1006, None]),
    ("int", Levels("long", (30, 10)), [10, 30, 20], [1, 0, None]),
    ("decimal(5,1)", Levels("long", (30, 10)), [Decimal(10), Decimal(30), Decimal("10.5")], [1, 0, None]),
    ("string", Levels("long", (30, 10)), [" 10.0", "30", "x"], [1, 0, None]),
    ("double", Levels("double", (1.5, 0.0)), [-0.0, 1.5, math.inf], [1, 0, None]),
    ("double", Levels("double", tuple(float(i) for i in range(300))), [-0.0, 299.0, 0.5], [0, 299, None]),
    ("boolean", Levels("boolean", (False, True)), [True, False], [1, 0]),
    ("date", Levels("date", ("2026-01-02", "2026-01-01")), [DAYS[0], dt.date(2026, 1, 1)], [None, 1]),
    ("string", Levels("date", ("2026-01-02", "2026-01-01")), ["2026-01-02", "2026-1-2"], [0, None]),
]


def of_levels() -> Iterator[Case]:
    """Each as a category, and as codes whose unknown levels are missing ones."""
    for number, (source, known, values, codes) in enumerate(LEVELS):
        name, given = f"levels {number}: {source} to {known.type}", [*values, None]
        coded: list[Found] = [(c, None if c is not None else "unknown level") for c in codes]
        yield Case(name, source, given, Category(known), [*coded, (-1, None)])
        numbers: list[Found] = [(-1.0 if c is None else float(c), None) for c in [*codes, None]]
        yield Case(f"{name} as codes", source, given, Coded("double", known), numbers, FeaturePolicy(invalid="missing"))


OTHERS = [
    Case(
        "listed values stay what they are",
        "string",
        ["a", "ö", "A", None],
        OneOf("string", TEXT, null=False),
        [("a", None), ("ö", None), (None, "unknown level"), (None, "null")],
    ),
    Case("bytes", "binary", [b"\x00", None], "binary", [(b"\x00", None), (None, None)]),
    Case("a time of nothing", "int", [1], "datetime", [NO_TIME], sql="NULL"),
    Case("a level of nothing", "int", [1], Category(TEXT), [(-1, None)], sql="NULL"),
]
CASES = [*TIMES, *(Case(n, n, v, target, e) for n, target, v, e in NESTED), *TENSORS, *of_levels(), *OTHERS]


# --- what Spark makes of them -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda s: s["spark.sql.session.timeZone"])
def found(request: pytest.FixtureRequest, spark: SparkSession) -> Iterator[dict[str, list[Found]]]:
    """What a session makes of all cases, by their names."""
    before = {name: spark.conf.get(name, None) for name in SETTINGS[-1]}
    for name, value in request.param.items():
        spark.conf.set(name, value)
    try:
        yield converted(spark, CASES)
    finally:
        for name, old in before.items():
            if old is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, old)


def converted(spark: SparkSession, cases: list[Case]) -> dict[str, list[Found]]:
    """Each case a column and a feature of one plan and one Spark job; shorter columns end in nulls."""
    rows = zip_longest(*(case.values for case in cases))
    schema = ", ".join(f"x{n} {case.source}" for n, case in enumerate(cases))
    table = spark.createDataFrame([(i, *row) for i, row in enumerate(rows)], f"id int, {schema}").repartition(2)
    sql = {f"f{n}": case.sql.format(x=f"x{n}") for n, case in enumerate(cases)}
    types = [field.dataType for field in table.selectExpr(*sql.values()).schema]
    features = tuple(Feature(name, case.target) for name, case in zip(sql, cases, strict=True))
    spec = ModelSpec("m", None, None, None, "d", "", "python_function", features, "double")
    policy = Policy.of({name: case.policy or FeaturePolicy() for name, case in zip(sql, cases, strict=True)})
    expressions = {name: Expression(text, type_) for (name, text), type_ in zip(sql.items(), types, strict=True)}
    plan = make_plan(spec, table.schema, Request(policy, expressions))
    extended = extend(table, plan, "_made")
    prepared = prepare(plan, extended)
    lanes = [lane.column.alias(f"lane {n}") for n, lane in enumerate(prepared.lanes)]
    frame = extended.frame.select("id", *lanes, prepared.error.alias("error"), prepared.ok.alias("ok"))
    made: dict[str, list[Found]] = {case.name: [] for case in cases}
    for row in in_order(frame):
        assert row["ok"] == (row["error"] is None)
        problems = dict(part.split(": ", 1) for part in (row["error"] or "").split("; ") if part)
        for n, lane in enumerate(prepared.lanes):
            for feature, value in in_lane(lane, row[f"lane {n}"], cases):
                case = cases[int(feature[1:])]
                if row["id"] < len(case.values):
                    made[case.name].append((plain(value), problems.get(feature)))
    return made


def in_lane(lane: Lane, value: Any, cases: list[Case]) -> Iterator[tuple[str, Any]]:
    """The features of a lane, with their values; numbers that are packed are never null."""
    assert not lane.packed or (value is not None and (None not in value or lane.type in ("string", "binary")))
    for place, feature in enumerate(lane.features):
        is_one_of_many = lane.packed and not isinstance(cases[int(feature[1:])].target, Tensor)
        yield feature, value[place] if is_one_of_many else value


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value.asDict(recursive=True) if isinstance(value, T.Row) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_value_becomes_what_it_should(found: dict[str, list[Found]], case: Case) -> None:
    """Errors are equal, and so is the value of each row that is good."""
    made = found[case.name]
    assert [error for _, error in made] == [error for _, error in case.expected]
    good = [(value, right) for (value, _), (right, error) in zip(made, case.expected, strict=True) if error is None]
    assert [value for value, _ in good] == [right for _, right in good]
