"""Times and nested types on edge values in Spark, against a computation in plain Python."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.engine.casts import extend, prepare
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Array, Category, Coded, Levels, Map, Member, ModelType, Object, OneOf, Tensor
from spark_scoring.plan.planner import Expression, Request, make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy

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


@pytest.fixture(params=SETTINGS, ids=lambda s: s["spark.sql.session.timeZone"])
def session(request: pytest.FixtureRequest, spark: SparkSession) -> Iterator[SparkSession]:
    before = {name: spark.conf.get(name, None) for name in SETTINGS[-1]}
    for name, value in request.param.items():
        spark.conf.set(name, value)
    yield spark
    for name, old in before.items():
        if old is None:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, old)


def converted(
    spark: SparkSession, source: str, values: list[Any], target: ModelType, policy: Any = "strict", sql: str = "x"
) -> list[tuple[Any, str | None]]:
    """Each value in its lane, and what is wrong with it."""
    spec = ModelSpec("m", None, None, None, "d", "", "python_function", (Feature("f", target),), "double")
    table = spark.createDataFrame(list(enumerate(values)), f"id int, x {source}").repartition(2)
    type_ = table.selectExpr(f"{sql} AS v").schema[0].dataType
    plan = make_plan(spec, table.schema, Request(Policy.of(policy), {"f": Expression(sql, type_)}))
    extended = extend(table, plan, "_made")
    prepared = prepare(plan, extended)
    (lane,) = prepared.lanes
    found = extended.frame.select("id", lane.column.alias("v"), prepared.error.alias("e"), prepared.ok.alias("ok"))
    rows = found.orderBy("id").collect()
    assert [row["id"] for row in rows] == list(range(len(values)))
    assert all(row["ok"] == (row["e"] is None) for row in rows)
    assert not lane.packed or all(row["v"] is not None and None not in row["v"] for row in rows)
    scalar = lane.packed and not isinstance(target, Tensor)
    return [(row["v"][0] if scalar else row["v"], row["e"]) for row in rows]


def micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def in_range(value: int) -> tuple[int | None, str | None]:
    return (value, None) if -LAST <= value <= LAST else (None, "f: out of range")


def agree(found: list[tuple[Any, str | None]], expected: list[tuple[Any, str | None]]) -> None:
    """Errors are equal, and so is the value of each row that is good."""
    assert [error for _, error in found] == [error for _, error in expected]
    good = [(f, e) for (f, _), (e, error) in zip(found, expected, strict=True) if error is None]
    assert [f for f, _ in good] == [e for _, e in good]


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


def test_dates_are_midnight_in_utc(session: SparkSession) -> None:
    expected: list[tuple[Any, str | None]] = [
        in_range(micros(dt.datetime(d.year, d.month, d.day, tzinfo=UTC))) for d in DAYS
    ]
    agree(converted(session, "date", [*DAYS, None], "datetime"), [*expected, (NAT, None)])


INSTANTS = [0, 1, -1, LAST, -LAST, LAST + 1, -LAST - 1, 1762061400000000, 1762065000000001, -62135596800000000]
"""A repeated hour in New York among them, in microseconds."""


def test_timestamps_are_instants(session: SparkSession) -> None:
    found = converted(session, "bigint", [*INSTANTS, None], "datetime", sql="timestamp_micros(x)")
    agree(found, [*map(in_range, INSTANTS), (NAT, None)])


def test_times_without_a_zone_are_taken_as_utc(session: SparkSession) -> None:
    moments = [EPOCH + dt.timedelta(microseconds=m) for m in INSTANTS if abs(m) < LAST]
    moments += [dt.datetime(2026, 3, 8, 2, 30, tzinfo=UTC), dt.datetime(1, 1, 1, tzinfo=UTC)]  # New York has no 2:30
    moments += [dt.datetime(2262, 4, 11, 23, 47, 16, 854775, tzinfo=UTC), dt.datetime(9999, 12, 31, tzinfo=UTC)]
    walls = [moment.replace(tzinfo=None) for moment in moments]
    expected = [in_range(micros(moment)) for moment in moments]
    agree(converted(session, "timestamp_ntz", [*walls, None], "datetime"), [*expected, (NAT, None)])


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


def test_text_is_a_time_where_it_is_iso_8601(session: SparkSession) -> None:
    expected: list[tuple[Any, str | None]] = [(micros(dt.datetime.fromisoformat(t)), None) for t in TEXTS.values()]
    expected += [(None, "f: not a time in range")] * len(NO_TIMES)
    agree(converted(session, "string", [*TEXTS, *NO_TIMES, None], "datetime"), [*expected, (NAT, None)])


def test_a_time_may_stand_in(session: SparkSession) -> None:
    policy = {"f": FeaturePolicy(nulls=Fill("2026-01-31T12:00:00+01:00"), invalid="missing")}
    found = converted(session, "string", [None, "soon"], "datetime", policy)
    agree(found, [(micros(dt.datetime(2026, 1, 31, 11, tzinfo=UTC)), None), (NAT, None)])


WRONG = (None, "f: a value inside does not fit")
NULL = (None, "f: null")
POINT = Object((Member("at", "long"), Member("Of", Array("string"), required=False)))
NESTED: list[tuple[str, ModelType, list[Any], list[tuple[Any, str | None]]]] = [
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


@pytest.mark.parametrize(("source", "target", "values", "expected"), NESTED, ids=[row[0] for row in NESTED])
def test_what_is_inside_converts_by_the_same_rules(
    session: SparkSession, source: str, target: ModelType, values: list[Any], expected: list[tuple[Any, str | None]]
) -> None:
    found = [(plain(value), error) for value, error in converted(session, source, values, target)]
    agree(found, expected)


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.asDict(recursive=True) if isinstance(value, T.Row) else value


THREE = "f: not 3 values of the tensor's type"


def test_tensors_take_arrays_of_their_width(session: SparkSession) -> None:
    values = [[1, 2, 3], [1, 2], [1, 2, 3, 4], [1, 2, 300], [1, 2, None], None]
    expected: list[tuple[Any, str | None]] = [([1, 2, 3], None), *[(None, THREE)] * 4, (None, "f: null")]
    agree(converted(session, "array<int>", values, Tensor("uint8", (-1, 3))), expected)


def test_tensors_take_structs_field_by_field(session: SparkSession) -> None:
    found = converted(
        session,
        "decimal(5,1)",
        [Decimal("0.5"), Decimal(2), None],
        Tensor("float", (-1, 3)),
        sql="struct(x, x > 1, CAST(x AS string))",
    )
    (first, first_error), (second, second_error), (third, third_error) = found
    assert (first, first_error, second, second_error) == ([0.5, 0.0, 0.5], None, [2.0, 1.0, 2.0], None)
    assert third_error is None
    assert all(math.isnan(v) for v in third)


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


@pytest.mark.parametrize(("source", "levels", "values", "codes"), LEVELS, ids=lambda v: str(v)[:30])
def test_levels_have_the_codes_of_training(
    session: SparkSession, source: str, levels: Levels, values: list[Any], codes: list[int | None]
) -> None:
    unknown = "f: unknown level"
    expected: list[tuple[Any, str | None]] = [(c, None if c is not None else unknown) for c in codes]
    agree(converted(session, source, [*values, None], Category(levels)), [*expected, (-1, None)])
    missing: list[tuple[Any, str | None]] = [(-1.0 if c is None else float(c), None) for c in [*codes, None]]
    lenient = {"f": FeaturePolicy(invalid="missing")}
    agree(converted(session, source, [*values, None], Coded("double", levels), lenient), missing)


def test_listed_values_stay_what_they_are(session: SparkSession) -> None:
    expected: list[tuple[Any, str | None]] = [("a", None), ("ö", None), (None, "f: unknown level"), (None, "f: null")]
    agree(converted(session, "string", ["a", "ö", "A", None], OneOf("string", TEXT, null=False)), expected)


def test_binary_and_void_columns(session: SparkSession) -> None:
    agree(converted(session, "binary", [b"\x00", None], "binary"), [(b"\x00", None), (None, None)])
    agree(converted(session, "int", [1], "datetime", sql="NULL"), [(NAT, None)])
    agree(converted(session, "int", [1], Category(TEXT), sql="NULL"), [(-1, None)])
