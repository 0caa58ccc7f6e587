"""Every cell of the matrix that is not refused, on real columns: times, bytes, levels, nested types, tensors.

``tests/unit/test_rules.py`` has the matrix, ``test_conversions.py`` runs its numbers, flags and texts; this one all
the rest. What is expected comes from ``Fraction``, ``Decimal`` and ``datetime`` alone. The sources of a family are one
DataFrame, all their cells one plan and one Spark job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product, zip_longest
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.ml.linalg import Vector, Vectors
from pyspark.sql import Row
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.engine import columns as engine_columns
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import (
    ANY,
    Array,
    Category,
    Coded,
    Levels,
    LevelType,
    Map,
    Member,
    ModelType,
    Object,
    OneOf,
    Tensor,
)
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Expression, Request
from spark_scoring.sql import quote
from tests import needs
from tests.spark import test_conversions as numbers
from tests.spark.test_conversions import INTERPRETED, UNFIT, WHITESPACE, Outcome, decimal_of, edges_of, same
from tests.unit.test_rules import DOUBLE, SOURCES, TARGETS, TEXT, VERDICTS, struct

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.plan.scoring_plan import ScoringPlan

MODES: tuple[Mapping[str, str], ...] = (
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"},
    {"spark.sql.ansi.enabled": "false", "spark.sql.session.timeZone": "America/New_York"},
    INTERPRETED,  # with ANSI, in Asia/Kolkata
)
MISSING_TIME, MISSING_CODE = -(2**63), -1
UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
LAST_MICROS = (2**63 - 1) // 1000
"""int64 nanoseconds reach as many microseconds before and after 1970."""
RANGES = {
    "int8": range(-128, 128),
    "int16": range(-32_768, 32_768),
    "uint8": range(256),
    "uint16": range(65_536),
    "uint32": range(2**32),
}
CAN_BE_NULL = ("double", "float", "string", "binary", "datetime", ANY)
NAN_IS_NULL = ("float", "double")
"""Sources whose NaN is a null, as no lane can tell the two apart."""


# --- what is expected -----------------------------------------------------------------------------------------------


def expected(value: Any, source: str, target: ModelType, *, required: bool = True) -> Outcome:
    """What one value of a column becomes in its lane."""
    if target == ANY:
        return Outcome(value)
    if value is None or (source in NAN_IS_NULL and is_nan(value) and target != "string"):
        return missing(target, required=required)
    match target:
        case Category() | Coded() | OneOf():
            return level(np.float32(value) if source == "float" else value, target)
        case Tensor():
            return tensor(value, source, target)
        case "datetime":
            micros = micros_of(value)
            return UNFIT if micros is None else Outcome(micros)
        case str():
            return scalar(value, target)
        case _:
            return nested(value, target)


def missing(target: ModelType, *, required: bool) -> Outcome:
    null = Outcome(problem="null")
    match target:
        case Category():
            return Outcome(MISSING_CODE)
        case Coded():
            return Outcome(typed(MISSING_CODE, target.type))
        case OneOf():
            return missing(target.type, required=required) if target.null else null
        case Tensor("double" | "float", shape) if math.prod(shape[1:]) == 1:
            return Outcome([math.nan])
        case "double" | "float":
            return Outcome(math.nan)
        case "datetime":
            return Outcome(MISSING_TIME)
        case "string" | "binary":
            return Outcome(None)
        case Array() | Map() | Object() if not required:
            return Outcome(None)
        case _:
            return null


def scalar(value: Any, target: str) -> Outcome:
    """Numbers, flags, texts and bytes; numpy's small integers are whole numbers of fewer values."""
    if target == "binary":
        return Outcome(value)
    if target not in RANGES:
        return numbers.expected(value, "", target)
    found = UNFIT if is_nan(value) else numbers.expected(value, "", "long")
    return found if found.problem is None and found.value in RANGES[target] else UNFIT


def micros_of(value: Any) -> int | None:
    """Microseconds since 1970 of a date, an instant, a wall clock's time or a text; None: not a time in range."""
    if isinstance(value, str):
        return micros_of_text(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001
    micros = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
    return in_range(micros // MICRO)


def in_range(micros: int) -> int | None:
    return micros if abs(micros) <= LAST_MICROS else None


def micros_of_text(text: str) -> int | None:
    """A day, a clock behind a blank or T, an offset; UTC without one."""
    body = text.strip(WHITESPACE)
    at = next((i for i, c in enumerate(body) if i >= 10 and c in "Z+-"), len(body))
    day, clock, offset = body[:10], body[10:at].rstrip(WHITESPACE), body[at:]
    if (shape_of(day), shape_of(clock) in CLOCK_SHAPES, shape_of(offset) in OFFSET_SHAPES) != (
        "dddd-dd-dd",
        True,
        True,
    ):
        return None
    hours, minutes = (int(offset[1:3]), int(offset[-2:])) if offset.strip("Z") else (0, 0)
    try:
        second = int(clock[7:9] or 0), int(clock[10:].ljust(6, "0"))
        wall = datetime(*map(int, day.split("-")), int(clock[1:3] or 0), int(clock[4:6] or 0), *second, tzinfo=UTC)
    except ValueError:
        return None
    east = (hours * 60 + minutes) * (-1 if offset.startswith("-") else 1)
    return None if hours > 14 or minutes > 59 else in_range((wall - EPOCH - timedelta(minutes=east)) // MICRO)


def shape_of(text: str) -> str:
    return "".join("d" if c in "0123456789" else c for c in text)


SECOND_SHAPES = ("", ":dd", *(f":dd.{'d' * n}" for n in range(1, 7)))
CLOCK_SHAPES = {"", *(f"{mark}dd:dd{second}" for mark in " T" for second in SECOND_SHAPES)}
OFFSET_SHAPES = {"", "Z", "+dd:dd", "-dd:dd", "+dddd", "-dddd"}


def level(value: Any, target: Category | Coded | OneOf) -> Outcome:
    """A level's position, or the value itself; equal in the level's own type, dates by their text."""
    known = target.levels
    own = in_type_of(known, value)
    code = next((i for i, v in enumerate(known.values) if own is not None and own == v), None)
    match target:
        case _ if code is None:
            return UNFIT
        case Category():
            return Outcome(code)
        case Coded():
            return Outcome(typed(code, target.type))
        case OneOf():
            return Outcome(text_of(own) if target.type == "string" else typed(own, target.type))


def in_type_of(known: Levels, value: Any) -> Any:
    if known.type in ("string", "date"):
        return text_of(value)
    found = scalar(float(value) if isinstance(value, np.float32) else value, known.type)
    return found.value if found.problem is None else None


def text_of(value: Any) -> str:
    if not isinstance(value, float | np.float32):
        return str(numbers.expected(value, "", "string").value)
    return {"10000000.0": "1.0E7", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))


def typed(value: Any, type_: str) -> Any:
    """A level's value or position as a value of the lane."""
    kinds: Mapping[str, Callable[[Any], Any]] = {"double": float, "float": float, "long": int, "integer": int}
    return kinds[type_](value) if type_ in kinds else value


def nested(value: Any, target: ModelType) -> Outcome:
    """Element by element, value by value, member by member: one that does not fit keeps the whole from it."""
    match target:
        case Array():
            parts = [inside(v, target.element) for v in plain(value)]
            return whole(parts, [p.value for p in parts])
        case Map():
            entries = {k: inside(v, target.value) for k, v in value.items()}
            return whole(entries.values(), {k: p.value for k, p in entries.items()})
        case Object():
            fields = {k.lower(): v for k, v in value.items()}
            given = [m for m in target.members if m.name.lower() in fields]
            members = {m.name: inside(fields[m.name.lower()], m.type, required=m.required) for m in given}
            return whole(members.values(), {k: p.value for k, p in members.items()})
    raise AssertionError(target)


def whole(parts: Any, value: Any) -> Outcome:
    return UNFIT if any(part.problem for part in parts) else Outcome(value)


def inside(value: Any, target: ModelType, *, required: bool = True) -> Outcome:
    """A value in another: missing numbers are NaN, other nulls stay where the type or the object lets them."""
    if value is None:
        null = math.nan if target in ("double", "float") else None
        return Outcome(null) if target in CAN_BE_NULL or not required else UNFIT
    if target == "datetime":
        micros = micros_of(value)
        return UNFIT if micros is None else Outcome(EPOCH.replace(tzinfo=None) + micros * MICRO)
    return scalar(value, target) if isinstance(target, str) else nested(value, target)


def tensor(value: Any, source: str, target: Tensor) -> Outcome:
    """All values of a row end to end; nested arrays have the tensor's shape, flat ones its count of values."""
    shape = target.shape[1:]
    match value:
        case dict():
            values = list(value.values())
        case list() | Vector():
            values = flattened(plain(value), shape if source.startswith("array<array<") else [math.prod(shape)])
        case _:
            values = [value]
    parts = [inside(v, target.dtype) for v in values]
    return whole(parts, [p.value for p in parts]) if values else UNFIT


def flattened(values: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Values of nested lists that have the shape; else nothing."""
    size, *inner = shape or [1]
    if len(values) != size or any(inner and v is None for v in values):
        return []
    rows = [flattened(v, inner) for v in values] if inner else [values]
    return [v for row in rows for v in row] if all(rows) else []


def plain(value: Any) -> list[Any]:
    return [float(v) for v in value] if isinstance(value, Vector) else list(value)


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def alike(found: Any, wanted: Any) -> bool:
    """Equal in type and to the bit, inside and out; a null in a list of floats is the NaN that it becomes."""
    found = found.asDict() if isinstance(found, Row) else found
    if isinstance(wanted, dict) and isinstance(found, dict):
        return list(found) == list(wanted) and all(alike(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list | Vector) and isinstance(found, list):
        wanted = plain(wanted)
        return len(found) == len(wanted) and all(
            (f is None and is_nan(w)) or alike(f, w) for f, w in zip(found, wanted, strict=True)
        )
    return same(found, wanted, "")


# --- levels ---------------------------------------------------------------------------------------------------------

TEXTS = (
    *("a", "", " ", "a ", " a", "A", "it's", "''", 'say "hi"', "back\\slash", "\\", "\\'", "\\n", "tab\t"),
    *("line\nbreak", "Łódź", "日本", "😀", "e\u0301", "\u00e9", "\u00df", "\u00a0", "%", "_", "`x`", "a, b", "a;b"),
    *("NULL", "None", "nan", "true", "1", "1.0", "01", "0.1", "-0.0", "0.50", "0.5", "Infinity", "1.0E7", "2026-01-31"),
    *("2026-01-31 23:59:59", "0.000000000000000001", "1E-18", "9223372036854775807", "-128", "0.01", '{"a":1}', "7"),
)
LEVELS: dict[LevelType, Levels] = {
    "string": Levels("string", TEXTS),
    "long": Levels("long", (7, 0, -1, 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**31, 10, 127)),
    "double": Levels(
        "double", (0.5, 0.0, 1.0, -1.0, 0.1, 1e23, 5e-324, math.inf, 2.0**53, -(2.0**63), 1.0000000000000002)
    ),
    "boolean": Levels("boolean", (True, False)),
    "date": Levels("date", ("2026-01-31", "1970-01-01", "0001-01-01", "9999-12-31", "2000-02-29", "2025-03-09")),
}
IN_EVERY_FORM = ("boolean", "bigint", "double", "decimal(12,2)", "string", "date", "void")
"""Sources that are also matched for codes and for listed values."""
WHOLE_LEVELS = Levels("long", (7, 0, -1, 1, 127, 10, 2**31 - 1))
"""Levels that an INTEGER holds."""


def leveled(type_: LevelType) -> dict[str, ModelType]:
    """A category, codes and listed values of the levels."""
    known = LEVELS[type_]
    own = "string" if type_ == "date" else type_
    found: dict[str, ModelType] = {
        f"{type_}_level": Category(known),
        f"{type_}_code": Coded("long" if type_ == "long" else "double", known),
        f"{type_}_listed": OneOf(own, known, null=True),
    }
    if type_ == "long":
        found |= {"float_code": Coded("float", known), "long_as_text": OneOf("string", known, null=True)}
        found |= {"whole_listed": OneOf("integer", WHOLE_LEVELS, null=False)}
        found |= {"long_as_double": OneOf("double", WHOLE_LEVELS, null=True)}
    if type_ == "boolean":
        found |= {"whole_code": Coded("integer", known)}
    return found


# --- columns --------------------------------------------------------------------------------------------------------

DAYS = (
    *(date(1, 1, 1), date(1582, 10, 10), date(1677, 9, 20), date(1677, 9, 21), date(1677, 9, 22), date(1900, 2, 28)),
    *(date(1969, 12, 31), date(1970, 1, 1), date(2000, 2, 29), date(2024, 2, 29), date(2025, 3, 9), date(2025, 11, 2)),
    *(date(2026, 1, 31), date(2262, 4, 10), date(2262, 4, 11), date(2262, 4, 12), date(9999, 12, 31)),
)
CLOCKS = (
    *(datetime(day.year, day.month, day.day) for day in DAYS),  # noqa: DTZ001
    *(datetime(1677, 9, 21, 0, 12, 43, micros) for micros in (145_223, 145_224, 145_225, 145_226)),  # noqa: DTZ001
    *(datetime(2262, 4, 11, 23, 47, 16, micros) for micros in (854_774, 854_775, 854_776, 854_777)),  # noqa: DTZ001
    *(datetime(2025, 11, 2, hour, 30) for hour in range(8)),  # noqa: DTZ001  (New York: 1:30 twice)
    *(datetime(2025, 3, 9, hour, 30) for hour in range(8)),  # noqa: DTZ001  (New York: no 2:30)
    *(datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(9999, 12, 31, 23, 59, 59, 999_999)),  # noqa: DTZ001
    *(datetime(2026, 1, 31, 23, 59, 59, micros) for micros in (0, 1, 10, 100_000, 120_000, 123_456)),  # noqa: DTZ001
    *(datetime(1, 1, 1, 0, 0, 0, 1), datetime(1883, 11, 18, 17), datetime(1582, 10, 10, 12, 34, 56, 700)),  # noqa: DTZ001
)
TIME_TEXTS = (
    *("2262-04-12 01:47:16.854775+02:00", "2262-04-12 01:47:16.854776+02:00", "1677-09-20 22:12:43.145225-02:00"),
    *("2026-01-31", "2026-01-31 23:59", "2026-01-31T23:59:59", "2026-01-31 23:59:59.5", "2026-01-31T00:00:00.000001Z"),
    *("2026-01-31 23:59:59.123456+05:30", "2026-01-31 23:59-0800", "2026-01-31Z", "2026-01-31 Z", "2026-01-31-08:00"),
    *("2026-01-31 +00:00", " 2026-01-31 \n", "\t2026-01-31\x0b\x0c\r", "2026-01-31 23:59 +00:00"),
    *("2026-01-31 00:00:00.0", "2024-02-29", "2000-02-29", "1900-02-29", "2026-02-29", "2026-02-30", "2026-04-31"),
    *("2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32", "2026-01-31 24:00", "2026-01-31 24:00:00"),
    *("2026-01-31 23:60", "2026-01-31 23:59:60", "2026-1-31", "2026-01-3", "26-01-31", "12026-01-31"),
    *("2026-01-31 7:00", "2026-01-31 23", "2026-01-31 2359", "2026-01-31 23:59:59.", "2026-01-31 23:59:59.1234567"),
    *("2026-01-31 23:59:59,5", "2026-01-31  23:59", "20260131", "2026/01/31", "31.01.2026", "2026-01-31t23:59"),
    *("2026-01-31T23:59z", "2026-01-31 23:59:59 UTC", "2026-W05-6", "2026-01-31 23:59+15:00", "2026-01-31 23:59+14:59"),
    *("2026-01-31 23:59-14:59", "2026-01-31 23:59+05:60", "2026-031", "2026-01-31 23:59+5:30", "2026-01-31 23:59+05"),
    *("2026-01-31 23:59+", "2026-01-31 23:59+05:3", "2026-01-31 23:59Z+00:00", "2025-03-09 02:30"),
    *("2025-03-09 02:30:00-05:00", "2025-03-09T07:30:00Z", "2025-11-02 01:30", "2025-11-02 01:30-04:00"),
    *("1677-09-21 00:12:43.145224", "1677-09-21 00:12:43.145225", "2262-04-11 23:47:16.854775"),
    *("2262-04-11 23:47:16.854776", "2262-04-11 23:47:16+00:01", "2262-04-11 23:47:16-00:01", "1677-09-21 00:13-00:01"),
    *("1677-09-21 00:13+00:01", "1677-09-20", "1677-09-21", "1677-09-22", "2262-04-11", "2262-04-12", "0000-01-01"),
    *("0001-01-01", "9999-12-31", "-2026-01-31", "+2026-01-31", "", " ", "T", "now", "today", "epoch", "1769904000"),
    *("NaT", "null", "0000-00-00", "\u0662026-01-31", "\uff12026-01-31", "2026-01-31\u00a0", "\u20282026-01-31"),
    *("2026-01-31 \u0662\u0663:59", "2026\u201001\u201031", "2026-01-31\n\n", "2026-01-31\nx", "x\n2026-01-31"),
    *("2026-01-31 23:59:59\x00", "2026-01-31 23:59\u00a0Z", "1970-01-01Z"),
)
BYTES = (b"", b"\x00", b"a'\\\xff", bytes(range(256)))
JSON = {
    "1": "1",
    "1.50": "1.5",
    "-128": "-128",
    "0.1": "0.1",
    "10000000.0": "10000000",
    "1e7": "1.0E7",
    "1e400": "Infinity",
    "9223372036854775807": "9223372036854775807",
    "9223372036854775808": "9223372036854775808",
    "12345678901234567890123456789012345678": "12345678901234567890123456789012345678",
    "true": "true",
    "false": "false",
    "null": None,
    '"a"': "a",
    '"Łódź"': "Łódź",
    '" 1 "': " 1 ",
    '"it\'s"': "it's",
    '"back\\\\slash"': "back\\slash",
    '"TRUE"': "TRUE",
    '"nan"': "nan",
    '""': "",
    '"2026-01-31"': "2026-01-31",
    '"2026-01-31T12:00:00+02:00"': "2026-01-31T12:00:00+02:00",
    '{"a": 1}': '{"a":1}',
    '{"a": [1, null]}': '{"a":[1,null]}',
    "[1, 2]": "[1,2]",
    "[]": "[]",
}
"""A VARIANT's JSON and its text: a number loses what says nothing, a null is a null."""

LISTS: tuple[list[Any], ...] = (
    *([], [None], [None, None], [1.0], [-0.0], [math.nan], [math.inf], [0.1], [255.0], [255.5], [256.0], [-129.0]),
    *([1.0, 2.0], [1.5, 2.0], [1.0, None], [None, 1.0], [math.nan, 3.0], [2.0**63, 1.0], [-(2.0**63), 2.0**53]),
    *([1.0, 2.0, 3.0], [1.0, None, 3.0], [math.nan, -0.0, 5e-324], [0.0] * 4, [1e300, 1.0, 2.0, 3.0]),
    *([3.4028235e38] * 4, [1.0, 2.0, None, math.nan], [1.0, 2.0, 3.0, 4.0, 5.0], list(map(float, range(50)))),
)
WHOLE_LISTS: tuple[list[Any], ...] = (
    *([], [None], [0], [1], [-1], [255], [256], [-129], [32_768], [2**32], [2**63 - 1], [1, 2], [None, 2]),
    *([2**53 + 1] * 2, [1, 2, 3], [1, None, 3], [1, 2, 3, 4], [2**53 + 1, 2**24 + 1, -(2**63), 7]),
    *([None] * 4, [1, 2, 3, 4, 5]),
)
DECIMAL_TEXTS: tuple[tuple[str | None, ...], ...] = (
    *((), (None,), ("1.00",), ("0.10",), ("255.00",), ("255.01",), ("1.00", "2.00"), ("1.50", "2.00"), (None, "1.00")),
    *(("0.10", "-0.01", "9999999999.99"), ("0.10", None, "1.00")),
    *(("0.10", "0.20", "0.30", "16777217.00"), ("0.00",) * 4),
)
DECIMAL_LISTS = tuple([None if v is None else Decimal(v) for v in row] for row in DECIMAL_TEXTS)
TEXT_LISTS: tuple[list[Any], ...] = (
    *([], [None], [""], ["1"], [" 2.50 "], ["x"], ["nan"], ["-inf"], ["1e400"], ["true"], ["255"], ["255.0"], ["256"]),
    *(["1e2"], ["2026-01-31"], ["2026-01-31T00:00:00.000001+05:30", None], ["2026-02-30"], ["9999-12-31"], ["1", "2"]),
    *(["1", "x"], ["1", None], [None, None], ["a", "b"], ["1", "2", "3"], ["1", None, "3"], ["1", "2", "x"]),
    *(["1", "2", "3", "4"], ["0.1", "1e39", "2", "3"], ["3.4028235e38", "nan", " 1\n", "-0"]),
    *(["it's", "back\\slash"], ["Łódź", "😀"]),
)
GRIDS: tuple[list[Any], ...] = (
    *([], [None], [[]], [[1, 2], [3, 4]], [[1, 2], None], [[1, 2], [3, None]], [[1, 2, 3], [4]], [[1], [2], [3], [4]]),
    *([[1, 2, 3, 4]], [[1, 2], [3, 4], []], [[None, None], [None, None]]),
    *([[2**53 + 1, 2**24 + 1], [2**63 - 1, -(2**63)]], [[1, 2], [3]], [[], []], [[1, 2], [3, 4], [5, 6]]),
)
WHOLE_SOURCES = ("boolean", "tinyint", "smallint", "int", "bigint")
DECIMALS = {name: type_ for name, type_ in SOURCES.items() if isinstance(type_, T.DecimalType)}
ALL_TEXTS = numbers.TEXTS + TEXTS + TIME_TEXTS
DAY_LISTS = ([], [None], [DAYS[12]], list(DAYS), [DAYS[6], None], [DAYS[7], DAYS[7]], [DAYS[0], DAYS[-1]])
FLOAT_MAPS = ({}, {"a": 1.5}, {"": None, "Łódź 'x'": math.nan}, {"a": -0.0, "b": math.inf})
TEXT_MAPS = ({}, {"a": "1.5", "b": None}, {"a": "x"}, {"a": "1", "b": "nan", "c": " -0 "}, {"a": "1e400"})
PAIRS = tuple(
    {"a": a, "b": b}
    for a, b in ((1.0, "2"), (-0.0, "x"), (None, None), (math.nan, "1.5"), (2.0, None), (1.5, "1"), (1e300, "1e39"))
)
TRIPLES = tuple(
    {"A": a, "b": b, "c": c}
    for a, b, c in ((1, 0.5, True), (2**53 + 1, -0.0, False), (None, None, None), (7, math.nan, None))
)
VECTORS = (
    *(Vectors.dense(v) for v in ((), (1.0,), (1.5, 2.0), (1.0, 2.0, 3.0), (math.nan, -0.0, math.inf), (0.1,) * 4)),
    *(Vectors.sparse(3, {1: 5.0}), Vectors.sparse(4, {}), Vectors.sparse(1, {0: 255.0}), Vectors.sparse(2, {0: -1.0})),
    *(Vectors.sparse(5, {4: 1.0}), Vectors.sparse(50, {7: math.nan})),
)


def decimals_near_the_edges(type_: T.DecimalType) -> list[Decimal]:
    """Of the small integers, the levels and the type itself."""
    every = numbers.decimal_edges(type_.precision, type_.scale)
    return [v for v in every if abs(v) < 300 or abs(v) in (2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63) or v == every[-1]]


VALUES: dict[str, Sequence[Any]] = {
    **{name: edges_of(name) for name in (*WHOLE_SOURCES, "float", "double")},
    **{name: decimals_near_the_edges(type_) for name, type_ in DECIMALS.items()},
    "string": ALL_TEXTS,
    "collated": ALL_TEXTS[::3],
    "char": ("1   ", "a   ", "    ", "true", " 255", "1.0 ", "it's", "Łódź", "nan ", "1e3 "),
    "varchar": ("1", "a", "a ", "", "true", "1.50", "it's", "back\\slash", "Łódź 😀", "2026-01-31", "7", "-129", "127"),
    "variant": tuple(JSON),
    "binary": BYTES,
    "date": DAYS,
    "timestamp": tuple(moment.replace(tzinfo=UTC) for moment in CLOCKS),
    "timestamp_ntz": CLOCKS,
    "void": (None, None),
    "array<double>": LISTS,
    "array<bigint>": WHOLE_LISTS,
    "array<decimal>": DECIMAL_LISTS,
    "array<string>": TEXT_LISTS,
    "array<collated>": TEXT_LISTS,
    "array<date>": DAY_LISTS,
    "array<binary>": ([], [None], [b"a", b""]),
    "array<void>": tuple([None] * n for n in range(6)),
    "array<array<bigint>>": GRIDS,
    "array<struct>": ([], [None], list(PAIRS)),
    "map<string,double>": FLOAT_MAPS,
    "map<string,string>": TEXT_MAPS,
    "struct<a,b>": PAIRS,
    "struct<A,b,c>": TRIPLES,
    "struct<b>": tuple({"b": text} for text in ("1", " 255 ", "256", "x", None, "-128", "nan", "0.5", "65535", "1e39")),
    "vector": VECTORS,
}
SQL = {
    "variant": ("string", "parse_json(variant)"),
    "collated": ("string", "collate(collated, 'UNICODE_CI')"),
    "array<collated>": ("array<string>", "CAST(`array<collated>` AS array<string collate UNICODE_CI>)"),
    "void": ("int", "NULL"),
}
"""Columns that Python cannot make: from which, and how."""


@dataclass(frozen=True)
class Cell:
    """A column for a feature."""

    column: str
    source: T.DataType
    target: ModelType
    required: bool = True


def cells_of(sources: Sequence[str]) -> dict[str, Cell]:
    """The cells of the matrix that ``test_conversions`` does not run, by the feature's name."""
    found = {}
    for source, (target, type_) in product(sources, TARGETS.items()):
        is_run = target in numbers.TARGETS and SOURCES[source].simpleString() in numbers.TYPES
        if (source, target) not in VERDICTS or is_run:
            continue
        kind = target.removesuffix("_level")
        types = {target: type_}
        if kind != target:
            types = leveled(cast("LevelType", kind)) if source in IN_EVERY_FORM else {target: Category(LEVELS[kind])}
        found |= {f"{source} to {name}": Cell(source, SOURCES[source], t) for name, t in types.items()}
    return {name: cell for name, cell in found.items() if cell.column != "void" or may_be_missing(cell.target)}


def may_be_missing(target: ModelType) -> bool:
    return expected(None, "", target).problem is None


STOP_TYPE = struct(ID=T.DecimalType(12, 2), At=T.TimestampType(), score=TEXT, more=T.BinaryType())
STOP = Object(
    (
        *(Member("id", "long"), Member("score", "double", required=False)),
        *(Member("at", "datetime"), Member("gone", "long", required=False)),
    )
)
NOON, LATE = datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
STOPS = tuple(
    {"ID": None if stop_id is None else Decimal(stop_id), "At": at, "score": score, "more": b"x"}
    for stop_id, at, score in (
        *(("7.00", NOON, "0.5"), ("7.01", NOON, "0.5"), (None, NOON, "0.5"), ("-1.00", None, None)),
        *(("-1.00", NOON, "x"), ("0.00", LATE, "1")),
    )
)
TRIP_TYPE = struct(Stop=STOP_TYPE, TAGS=T.ArrayType(T.IntegerType()), **{"it's `x`": T.BooleanType()})
TRIP = Object((Member("tags", Array("string")), Member("stop", STOP, required=False), Member("it's `x`", "boolean")))
TRIPS = tuple(
    {"Stop": stop, "TAGS": tags, "it's `x`": flag}
    for stop, tags, flag in (
        *((STOPS[0], [1, 2], True), (None, [], False), (STOPS[1], [1], True), (STOPS[0], None, True)),
        *((STOPS[0], [1, None], False), (STOPS[3], [-1], None)),
    )
)
MIXED_TYPE = struct(x=T.DecimalType(12, 2), y=TEXT, z=T.BooleanType(), t=DOUBLE)
MIXED = tuple(
    {"x": None if x is None else Decimal(x), "y": y, "z": z, "t": t}
    for x, y, z, t in (
        *(("1.00", "2", True, 3.0), ("1.50", "2", True, 3.0), (None, None, None, None), ("0.10", "x", False, math.nan)),
        *(("255.00", "0", False, -0.0), ("1.00", "1e39", True, 1e300), ("1.00", "nan", True, 256.0)),
    )
)
DEEP = (
    *([[[1.0], [2.0]]], [[[1.0, 2.0]]], [[[1.0]], [[2.0]]], [], [[]], [[[], []]], [None], [[None, [1.0]]]),
    *([[[1.0], None]], [[[None], [math.nan]]], [[[0.5], [-0.0]]]),
)
STOP_LISTS = (
    *([], [None], list(STOPS[:1]), list(STOPS[:2]), [STOPS[0], STOPS[3]], [STOPS[3], None], [STOPS[4]], [STOPS[5]]),
)
LIST_MAPS = (
    *({}, {"a": ["1", "2.0"]}, {"a": [], "b": None}, {"a": ["x"]}, {"a": [None]}, {"it's": ["9223372036854775807"]}),
)
TINY = [[decimal_of(m, 38), decimal_of(n, 38)] for m, n in ((1, -(10**37)), (10**38 - 1, 7), (0, 0))]
MOMENT_LISTS = ([], [None], [NOON, None], [m.replace(tzinfo=UTC) for m in CLOCKS], [NOON], [LATE])

MORE: dict[str, tuple[T.DataType, Sequence[Any], tuple[ModelType, ...]]] = {
    "stop": (STOP_TYPE, STOPS, (STOP, Object((Member("SCORE", "string"),)), Object((Member("at", "string"),)))),
    "stops": (T.ArrayType(STOP_TYPE), STOP_LISTS, (Array(STOP),)),
    "trip": (TRIP_TYPE, TRIPS, (TRIP,)),
    "map of lists": (T.MapType(TEXT, T.ArrayType(TEXT)), LIST_MAPS, (Map(Array("long")), Map(Array("string")))),
    "map of stops": (
        T.MapType(TEXT, STOP_TYPE),
        [{}, {"a": STOPS[0], "b": STOPS[3]}, {"a": STOPS[1]}, {"a": None}],
        (Map(STOP),),
    ),
    "list of maps": (
        T.ArrayType(T.MapType(TEXT, T.FloatType())),
        [[], [{}], [{"a": 0.5}, {"b": None, "c": math.nan}], [None], [{"a": 1.0}, None]],
        (Array(Map("double")), Array(Map("integer"))),
    ),
    "three deep": (
        T.ArrayType(T.ArrayType(T.ArrayType(T.FloatType()))),
        DEEP,
        (Tensor("double", (-1, 1, 2, 1)), Array(Array(Array("double"))), Array(Array(Array("long")))),
    ),
    "doubles": (
        T.ArrayType(DOUBLE),
        LISTS,
        (
            *(Array("float"), Array("long"), Array("integer"), Array("boolean"), Tensor("boolean", (-1, 2))),
            *(Tensor("uint8", (-1, 2)), Tensor("int16", (-1, 2, 1)), Tensor("integer", (-1, 1, 3))),
            *(Tensor("float", (-1, 4)), Tensor("float", (-1,))),
        ),
    ),
    "texts": (
        T.ArrayType(TEXT),
        TEXT_LISTS,
        (Array("float"), Array("long"), Array("boolean"), Tensor("uint32", (-1, 2)), Tensor("boolean", (-1,))),
    ),
    "moments": (
        T.ArrayType(T.TimestampType()),
        MOMENT_LISTS,
        (Array("datetime"), Array("string"), Tensor("string", (-1, 1))),
    ),
    "clocks": (
        T.ArrayType(T.TimestampNTZType()),
        [[], [None], *([clock] for clock in CLOCKS), [CLOCKS[30], None]],
        (Array("datetime"), Array("string")),
    ),
    "bytes": (T.ArrayType(T.BinaryType()), [[], [None], list(BYTES[:2])], (Array("binary"), Tensor("binary", (-1, 2)))),
    "flags": (
        T.ArrayType(T.BooleanType()),
        [[], [True], [None], [True, False], [False, None]],
        (Array("boolean"), Array("double"), Array("string"), Tensor("uint8", (-1, 2)), Tensor("boolean", (-1, 2))),
    ),
    "decimals": (
        T.ArrayType(T.DecimalType(38, 38)),
        [[], [None], *TINY],
        (Array("double"), Array("float"), Array("string"), Array("long"), Array("boolean"), Tensor("int8", (-1, 2))),
    ),
    "mixed": (
        MIXED_TYPE,
        MIXED,
        (Tensor("double", (-1, 2, 2)), Tensor("float", (-1, 4)), Tensor("uint8", (-1, 4)), Tensor("string", (-1, 4))),
    ),
    "vectors": (
        SOURCES["vector"],
        VECTORS,
        (Array("float"), Array("long"), Tensor("uint8", (-1, 3)), Tensor("float", (-1, 1, 3))),
    ),
    "nothing": (T.ArrayType(T.NullType()), [[], [None]], (Array("long"), Array(Array("double")), Array("datetime"))),
}
"""Types in types, and elements of every type: source, values, targets."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "whole": WHOLE_SOURCES,
    "floating": ("float", "double"),
    "decimal": tuple(DECIMALS)[:6],
    "fraction": tuple(DECIMALS)[6:],
    "text": ("string",),
    "other text": ("collated", "variant"),
    "calendar": ("date", "timestamp", "timestamp_ntz"),
    "lists": tuple(name for name in SOURCES if name.startswith("array")),
    "structs": ("binary", "void", *(name for name in SOURCES if name.startswith(("map", "struct"))), "vector"),
}
CHARACTERS = ("char", "varchar")


def family_of(name: str) -> tuple[dict[str, Cell], dict[str, Sequence[Any]]]:
    """A family's cells, and the values of its columns."""
    if name in FAMILIES:
        cells = cells_of(FAMILIES[name])
        return cells, {cell.column: VALUES[cell.column] for cell in cells.values()}
    found = {
        f"{column} {n}{'' if required else ' optional'}": Cell(column, source, target, required)
        for column, (source, _, targets) in MORE.items()
        for n, target in enumerate(targets)
        for required in (True, False)
        if required or isinstance(target, Array | Map | Object)
    }
    return found, {column: values for column, (_, values, _) in MORE.items()}


# --- what Spark makes of them ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """One value of one cell after Spark."""

    feature: str
    cell: Cell
    given: Any
    lane: Any
    problem: str | None
    touched: bool


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Shorter columns end in nulls, and all have one."""
    return [*zip_longest(*columns.values()), (None,) * len(columns)]


def model_of(features: Iterable[Feature]) -> ModelSpec:
    return ModelSpec(
        uri="models:/cells/1",
        name=None,
        version=None,
        run_id=None,
        digest="",
        path="",
        flavor="python_function",
        inputs=tuple(features),
        output="double",
    )


def plan_of(cells: Mapping[str, Cell], policy: Mapping[str, FeaturePolicy] | None = None) -> ScoringPlan:
    """A plan with one feature per cell."""
    model = model_of(Feature(name, cell.target, required=cell.required) for name, cell in cells.items())
    expressions = {name: Expression(quote(cell.column), cell.source) for name, cell in cells.items()}
    return make_plan(model, T.StructType([]), Request(policy=Policy.of(policy or {}), expressions=expressions))


def frame_of(spark: SparkSession, cells: Mapping[str, Cell], columns: Mapping[str, Sequence[Any]]) -> DataFrame:
    """A column per source."""
    types = {cell.column: cell.source for cell in cells.values()}
    schema = T.StructType([T.StructField(c, T.DataType.fromDDL(SQL[c][0]) if c in SQL else types[c]) for c in columns])
    frame = spark.createDataFrame(rows_of(columns), schema)
    return frame.selectExpr(*(f"{SQL[c][1]} AS {quote(c)}" if c in SQL else quote(c) for c in columns))


def scored(
    frame: DataFrame, cells: Mapping[str, Cell], columns: Mapping[str, Sequence[Any]], plan: ScoringPlan | None = None
) -> Iterator[Scored]:
    """Every value of every cell. One Spark job."""
    plan = plan or plan_of(cells)
    extended = engine_columns.extend(frame, plan, "_matrix")
    prepared = engine_columns.prepare(plan, extended)
    lanes = [lane.column.alias(f"lane {i}") for i, lane in enumerate(prepared.lanes)]
    touched = [column.alias(f"touched {name}") for name, column in prepared.touched.items()]
    selected = extended.frame.select(*lanes, *touched, prepared.ok.alias("ok"), prepared.error.alias("error"))
    for lane, field in zip(prepared.lanes, selected.schema, strict=False):
        assert lane.type == "nested" or field.dataType.simpleString() == lane_type(lane), lane.features
    rows = selected.collect()
    for given_row, row in zip(rows_of(columns), rows, strict=True):
        given = dict(zip(columns, given_row, strict=True))
        problems = dict(part.split(": ", 1) for part in (row["error"] or "").split("; ") if part)
        assert row["ok"] == (row["error"] is None)
        for i, lane in enumerate(prepared.lanes):
            yield from in_lane(lane, row[f"lane {i}"], cells, given, problems, row)


def in_lane(
    lane: engine_columns.Lane,
    value: Any,
    cells: Mapping[str, Cell],
    given: Mapping[str, Any],
    problems: Mapping[str, str],
    row: Row,
) -> Iterator[Scored]:
    """The features of one lane in one row; a packed one is as long in every row, and its numbers are never null."""
    targets = [cells[name].target for name in lane.features]
    if lane.packed:
        width = sum(math.prod(t.shape[1:]) if isinstance(t, Tensor) else 1 for t in targets)
        assert value is not None
        assert len(value) == width, lane.features
        may_have_null = lane.type in ("string", "binary") or (
            lane.type in NAN_IS_NULL and isinstance(targets[0], Tensor)
        )
        assert may_have_null or None not in value, lane.features
    for j, (name, target) in enumerate(zip(lane.features, targets, strict=True)):
        cell = cells[name]
        own = value[j] if lane.packed and not isinstance(target, Tensor) else value
        was_touched = bool(row.asDict().get(f"touched {name}"))
        yield Scored(name, cell, given[cell.column], own, problems.get(name), was_touched)


def lane_type(lane: engine_columns.Lane) -> str:
    """Its Spark type: times are microseconds, categories codes."""
    wholes = {"long": "bigint", "datetime": "bigint", "uint32": "bigint", "integer": "int", "category": "int"}
    element = wholes.get(lane.type, "int" if lane.type in RANGES else lane.type)
    return f"array<{element}>" if lane.packed else element


def differences(results: Iterator[Scored], oracle: Callable[[Scored], Outcome] | None = None) -> list[str]:
    """A line per value that is not as expected."""
    wrong = []
    for result in results:
        outcome = by_the_rules(result) if oracle is None else oracle(result)
        found = result.problem if result.problem in (None, "null") else "unfit"
        if found != outcome.problem or (found is None and not alike(result.lane, outcome.value)):
            what = f"{result.lane!r}, {result.problem}"
            wrong.append(f"{result.feature}: {result.given!r} became {what}, expected {outcome}")
    return wrong


def by_the_rules(result: Scored) -> Outcome:
    cell = result.cell
    given = JSON.get(result.given) if cell.column == "variant" else result.given
    return expected(given, cell.source.simpleString(), cell.target, required=cell.required)


@pytest.fixture
def configure(spark: SparkSession) -> Iterator[Callable[[Mapping[str, str]], SparkSession]]:
    """Sets Spark's options; they are as before when the test is over."""
    names = sorted({name for options in MODES for name in options})
    before = {name: spark.conf.get(name) for name in names}

    def apply(options: Mapping[str, str]) -> SparkSession:
        for name, value in {**before, **options}.items():
            spark.conf.set(name, value or "")
        return spark

    yield apply
    apply({})


Configure = Callable[[Mapping[str, str]], "SparkSession"]


def session_id(options: Mapping[str, str]) -> str:
    mode = "interpreted, " if options is INTERPRETED else ""
    return f"{mode}ansi={options['spark.sql.ansi.enabled']}, {options['spark.sql.session.timeZone']}"


# --- tests ----------------------------------------------------------------------------------------------------------


@needs.variant
def test_every_cell_of_the_matrix_is_run() -> None:
    by_others = {
        (s, t) for s, type_ in SOURCES.items() for t in numbers.TARGETS if type_.simpleString() in numbers.TYPES
    }
    run = {(s, t) for s in (*CHARACTERS, *(s for family in FAMILIES.values() for s in family)) for t in TARGETS}
    assert set(VERDICTS) - run - by_others == set()
    assert all(VALUES[source] for source, _ in VERDICTS)


def in_sessions() -> list[Any]:
    """Families and modes; those that are cast as another one is, in one mode but for the long tests."""
    found = []
    for name, (number, options) in product((*FAMILIES, "more"), enumerate(MODES)):
        marks = [needs.variant] if name == "other text" else []
        marks += [pytest.mark.long] if number and name in ("fraction", "other text") else []
        found.append(pytest.param(name, options, marks=marks, id=f"{name}-{session_id(options)}"))
    return found


@pytest.mark.parametrize(("family", "options"), in_sessions())
def test_values_become_what_exact_arithmetic_says(
    configure: Configure, family: str, options: Mapping[str, str]
) -> None:
    spark = configure(options)
    cells, columns = family_of(family)
    assert differences(scored(frame_of(spark, cells, columns), cells, columns)) == []


def test_characters_of_a_table_are_padded_text(spark: SparkSession) -> None:
    spark.sql("CREATE TABLE characters (id INT, char CHAR(4), varchar VARCHAR(40)) USING parquet")
    columns = {name: VALUES[name] for name in CHARACTERS}
    rows = [(i, char and char.rstrip(), varchar) for i, (char, varchar) in enumerate(rows_of(columns))]
    try:
        spark.createDataFrame(rows, "id int, char string, varchar string").write.insertInto("characters")
        frame = spark.table("characters").orderBy("id").drop("id")
        cells = cells_of(CHARACTERS)
        assert differences(scored(frame, cells, columns)) == []
    finally:
        spark.sql("DROP TABLE characters")


# --- many levels ----------------------------------------------------------------------------------------------------

MANY: dict[LevelType, Levels] = {
    "string": Levels("string", (*TEXTS, *(f"filler {i}" for i in range(300)))),
    "long": Levels("long", (*LEVELS["long"].values, *range(10**6, 10**6 + 300))),
    "double": Levels("double", (*LEVELS["double"].values, *(i + 0.25 for i in range(300)))),
    "boolean": LEVELS["boolean"],
    "date": LEVELS["date"],
}
MATCHED: dict[str, tuple[ModelType, ...]] = {
    "string": (
        *(
            Category(MANY["string"]),
            OneOf("string", MANY["string"], null=True),
            OneOf("long", MANY["long"], null=False),
        ),
        *(Category(MANY["double"]), Coded("integer", MANY["boolean"]), OneOf("string", MANY["date"], null=False)),
    ),
    "bigint": (Category(MANY["long"]), Coded("double", MANY["string"])),
    "double": (Category(MANY["double"]), OneOf("long", MANY["long"], null=True)),
    "decimal(12,2)": (Category(MANY["double"]),),
    "boolean": (Category(MANY["boolean"]),),
    "date": (Category(MANY["date"]),),
    "void": (Category(MANY["string"]),),
    **({"variant": (Category(MANY["string"]),)} if needs.IS_SPARK_4 else {}),
}


@pytest.mark.parametrize(
    ("limit", "options"), [(0, MODES[0]), (0, MODES[1]), (10**6, MODES[0])], ids=["join", "join without ansi", "map"]
)
def test_a_join_and_a_map_give_a_level_the_same_code(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, limit: int, options: Mapping[str, str]
) -> None:
    spark = configure(options)
    monkeypatch.setattr(engine_columns, "MAPPED_LEVELS", limit)
    cells = {f"{s} {n}": Cell(s, SOURCES[s], t) for s, targets in MATCHED.items() for n, t in enumerate(targets)}
    columns = {source: VALUES[source] for source in MATCHED}
    frame = frame_of(spark, cells, columns).coalesce(1)
    joined = engine_columns.extend(frame, plan_of(cells), "_matrix").codes
    assert set(joined) == ({name for name in cells if not name.startswith("void")} if limit == 0 else set())
    assert differences(scored(frame, cells, columns)) == []


@pytest.mark.parametrize(
    ("count", "is_joined"), [(engine_columns.MAPPED_LEVELS, False), (engine_columns.MAPPED_LEVELS + 1, True)]
)
def test_from_many_levels_on_they_are_joined(spark: SparkSession, count: int, is_joined: bool) -> None:  # noqa: FBT001
    cells = {"x": Cell("bigint", SOURCES["bigint"], Category(Levels("long", tuple(range(count)))))}
    assert bool(engine_columns.extend(spark.range(1).toDF("bigint"), plan_of(cells), "_matrix").codes) == is_joined


def test_a_hundred_thousand_levels_lose_and_double_no_row(spark: SparkSession) -> None:
    known = Levels("string", tuple(f"it's {i}" for i in range(100_000)))
    rows = spark.range(240_000).selectExpr("id", "concat('it\\'s ', id % 120000) AS text")
    plan = plan_of({"x": Cell("text", TEXT, Category(known))})
    extended = engine_columns.extend(rows, plan, "_matrix")
    prepared = engine_columns.prepare(plan, extended)
    coded = extended.frame.select("id", prepared.lanes[0].column.alias("lane"), prepared.ok.alias("ok"))
    right = "lane[0] = IF(id % 120000 < 100000, id % 120000, -1) AND ok = (id % 120000 < 100000)"
    counts = coded.selectExpr("count(*)", "count(DISTINCT id)", f"count_if({right})").collect()
    assert tuple(counts[0]) == (240_000, 240_000, 240_000)


# --- policies -------------------------------------------------------------------------------------------------------

POLICY_TEXTS = (
    *("1", "x", "2.5", "true", "a", "it's", "", " ", "2026-01-31", "2026-01-31T12:00Z"),
    "9999-12-31",
    "nan",
)
POLICY_LISTS = ([], ["1", None], ["x"], ["1.5"], ["nan", "2"])
MORNING = "2026-01-31T06:30:00.5+05:30"
FILLS: dict[str, tuple[str, ModelType, Any, Any]] = {
    "double": ("text", "double", 1.25, 1.25),
    "whole double": ("text", "double", 3, 3.0),
    "float": ("text", "float", 0.1, float(np.float32(0.1))),
    "long": ("text", "long", -(2**63), -(2**63)),
    "integer": ("text", "integer", 7, 7),
    "boolean": ("text", "boolean", True, True),
    "string": ("text", "string", "it's \\ 日本", "it's \\ 日本"),
    "datetime": ("text", "datetime", MORNING, (datetime(2026, 1, 31, 1, 0, 0, 500_000, UTC) - EPOCH) // MICRO),
    "category": ("text", Category(LEVELS["string"]), "back\\slash", TEXTS.index("back\\slash")),
    "day category": ("text", Category(LEVELS["date"]), "1970-01-01", 1),
    "code": ("text", Coded("double", LEVELS["string"]), "it's", float(TEXTS.index("it's"))),
    "flag code": ("text", Coded("integer", LEVELS["boolean"]), False, 1),
    "listed": ("text", OneOf("string", LEVELS["string"], null=True), "a ", "a "),
    "listed number": ("text", OneOf("double", LEVELS["double"], null=True), 1e23, 1e23),
    "listed whole": ("text", OneOf("long", LEVELS["long"], null=True), 2**63 - 1, 2**63 - 1),
    "tensor": ("text", Tensor("double", (-1, 1)), None, [math.nan]),
    "row": ("list", Tensor("double", (-1, 2)), None, None),
    "list": ("list", Array("double"), None, None),
}
"""Column, target, the value that fills in, and what it is in the lane; without one only null can."""
ZEROS = {"double": 0.0, "float": 0.0, "long": 0, "integer": 0, "boolean": False}


def policies_of(target: ModelType, fill: Any) -> dict[str, FeaturePolicy]:
    """Every choice that a feature of the type can have."""
    can_be_missing = missing(target, required=False).problem is None
    nulls: list[Any] = [
        "bad_row",
        *(["keep", Fill(None)] if can_be_missing else []),
        *([Fill(fill)] if fill is not None else []),
    ]
    invalid: list[Any] = [*(["missing"] if can_be_missing else []), *nulls]
    choices = product(nulls, [i for i in invalid if i != "keep"])
    found = {f"{i}": FeaturePolicy(nulls=n, invalid=v) for i, (n, v) in enumerate(choices)}
    return {"strict": FeaturePolicy(), "lenient": FeaturePolicy(preset="lenient"), **found}


def under(policy: FeaturePolicy, cell: Cell, given: Any, filled: Any) -> tuple[Outcome, bool]:
    """What the policy makes of a value, and whether it replaces it."""
    as_it_is = expected(given, cell.source.simpleString(), cell.target, required=cell.required)
    if given is not None and as_it_is.problem is None:
        return as_it_is, False
    action = policy.nulls if given is None else policy.invalid
    if policy.preset == "lenient":
        stand_in, filled = Fill(0 if cell.target in ZEROS else None), ZEROS.get(str(cell.target))
        can_be_missing = missing(cell.target, required=cell.required).problem is None
        action = stand_in if cell.target in ZEROS or (can_be_missing and given is not None) else None
    match action:
        case "missing" | Fill(None):
            return missing(cell.target, required=False), True
        case Fill():
            return Outcome(filled), True
        case "bad_row":
            return Outcome(problem="null" if given is None else "unfit"), False
        case _:
            return as_it_is, False


@pytest.mark.parametrize("options", MODES, ids=session_id)
def test_policies_settle_nulls_and_values_that_do_not_fit(configure: Configure, options: Mapping[str, str]) -> None:
    spark = configure(options)
    columns: dict[str, Sequence[Any]] = {"text": POLICY_TEXTS, "list": POLICY_LISTS}
    types = {"text": TEXT, "list": T.ArrayType(TEXT)}
    cells, policies, fills = {}, {}, {}
    for name, (column, target, fill, filled) in FILLS.items():
        for choice, policy in policies_of(target, fill).items():
            cells[f"{name} {choice}"] = Cell(column, types[column], target, required=name != "list")
            policies[f"{name} {choice}"], fills[f"{name} {choice}"] = policy, filled

    def settled(result: Scored) -> tuple[Outcome, bool]:
        return under(policies[result.feature], result.cell, result.given, fills[result.feature])

    results = list(scored(frame_of(spark, cells, columns), cells, columns, plan_of(cells, policies)))
    assert differences(iter(results), lambda result: settled(result)[0]) == []
    assert [r for r in results if r.touched != settled(r)[1]] == []


def test_a_missing_column_is_filled_in_every_row(spark: SparkSession) -> None:
    absent = {name: (target, fill, value) for name, (_, target, fill, value) in FILLS.items() if fill is not None}
    nulls = {f"no {name}": (target, missing(target, required=True)) for name, (target, _, _) in absent.items()}
    absent |= {name: (target, None, null.value) for name, (target, null) in nulls.items() if null.problem is None}
    policy = Policy.of({name: FeaturePolicy(absent=Fill(fill)) for name, (_, fill, _) in absent.items()})
    model = model_of(Feature(name, target) for name, (target, _, _) in absent.items())
    prepared = engine_columns.prepare(make_plan(model, T.StructType([]), Request(policy=policy)))
    columns = [lane.column for lane in prepared.lanes]
    for *lanes, ok, error in spark.range(2).select(*columns, prepared.ok, prepared.error).collect():
        for lane, value in zip(prepared.lanes, lanes, strict=True):
            found = dict(zip(lane.features, value if lane.packed else [value], strict=True))
            assert [(n, v) for n, v in found.items() if not alike(v, absent[n][2])] == []
        assert (ok, error) == (True, None)


@pytest.mark.parametrize(
    ("target", "policy", "bad", "message"),
    [
        ("long", FeaturePolicy(nulls="fail"), None, "x: null"),
        ("datetime", FeaturePolicy(invalid="fail"), "2026-02-30", "x: not a time in range"),
        (Category(LEVELS["string"]), FeaturePolicy(invalid="fail"), "b", "x: unknown level"),
        (
            Tensor("double", (-1, 1)),
            FeaturePolicy(nulls="fail", invalid="fail"),
            "b",
            "x: not one value of the tensor's type",
        ),
    ],
    ids=["null", "time", "level", "tensor"],
)
def test_a_policy_can_stop_the_run(
    spark: SparkSession, target: ModelType, policy: FeaturePolicy, bad: Any, message: str
) -> None:
    cells = {"x": Cell("text", TEXT, target)}
    good = "2026-01-31" if target == "datetime" else "1"
    plan = plan_of(cells, {"x": policy})
    assert [
        r.problem for r in scored(frame_of(spark, cells, {"text": [good]}).limit(1), cells, {"text": []}, plan)
    ] == [None]
    with pytest.raises(PySparkException, match=f"spark_scoring: {message}, and the feature's policy is to fail"):
        list(scored(frame_of(spark, cells, {"text": [good, bad]}), cells, {"text": [good, bad]}, plan))
