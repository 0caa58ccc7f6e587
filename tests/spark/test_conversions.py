"""Every cell of the conversion table on real columns, against exact arithmetic in Python.

What is expected comes from ``int``, ``Fraction``, ``Decimal`` and numpy's neighbouring floats alone. A family of
source types is one DataFrame, all its cells are one plan and one Spark job; an example of hypothesis is a whole
table of values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.engine.columns import Prepared, prepare
from spark_scoring.errors import PlanError
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import Policy, Preset
from spark_scoring.plan.request import Expression, Request
from spark_scoring.sql import quote
from tests.needs import in_short

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.plan.scoring_plan import ScoringPlan

Table = Mapping[str, Sequence[Any]]
"""Values per source; a source's name is its Spark type's simple string."""

TARGETS = ("double", "float", "long", "integer", "boolean", "string")
CALENDAR = ("date", "timestamp", "timestamp_ntz")
DECIMALS = ((9, 0), (10, 0), (18, 0), (19, 0), (38, 0), (12, 2), (38, 18), (38, 37), (38, 38))

TYPES: dict[str, T.DataType] = {
    type_.simpleString(): type_
    for type_ in (
        T.BooleanType(),
        T.ByteType(),
        T.ShortType(),
        T.IntegerType(),
        T.LongType(),
        T.FloatType(),
        T.DoubleType(),
        T.StringType(),
        T.DateType(),
        T.TimestampType(),
        T.TimestampNTZType(),
        *(T.DecimalType(precision, scale) for precision, scale in DECIMALS),
    )
}
WHOLE_BITS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
FAMILIES: dict[str, tuple[str, ...]] = {
    "whole": ("boolean", *WHOLE_BITS),
    "floating": ("float", "double"),
    "decimal": tuple(f"decimal({precision},{scale})" for precision, scale in DECIMALS),
    "text": ("string",),
    "calendar": CALENDAR,
}

SESSIONS: tuple[dict[str, str], ...] = (
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"},
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "America/New_York"},
    {"spark.sql.ansi.enabled": "false", "spark.sql.session.timeZone": "Asia/Kolkata"},
)
INTERPRETED = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "Asia/Kolkata",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""How Spark runs a plan that is too wide for its code generator."""


# --- what is expected -------------------------------------------------------------------------------------------

WHITESPACE = " \t\n\r\x0b\x0c"
Number = Fraction | float
"""A number without rounding: a Fraction, or a float where that is -0.0, NaN or infinite."""


@dataclass(frozen=True)
class Outcome:
    """What a value becomes: its value in the lane, or why its row is bad."""

    value: Any = None
    problem: Literal["null", "unfit"] | None = None


UNFIT = Outcome(problem="unfit")


def expected(value: Any, source: str, target: str) -> Outcome:
    """The design's rule for one value of one cell."""
    if is_missing(value, target):
        return MISSING[target]
    if target == "string" and isinstance(value, Decimal):
        return Outcome(format(value, "f"))
    return ORACLES[target](value)


def is_missing(value: Any, target: str) -> bool:
    """Null, and NaN but for its text."""
    return value is None or (target != "string" and isinstance(value, float) and math.isnan(value))


def exact(value: bool | float | Decimal) -> Number:  # noqa: FBT001
    if isinstance(value, float) and (value == 0.0 or not math.isfinite(value)):
        return value if value != 0.0 or is_negative(value) else Fraction(0)
    return Fraction(value)


def is_negative(value: float) -> bool:
    return math.copysign(1.0, value) < 0


def parse_number(text: str) -> Number | None:
    """Whitespace, sign, digits with optional fraction and exponent; or nan, inf, infinity. None: no number."""
    body = text.strip(WHITESPACE).lower()
    if body == "nan":
        return math.nan
    negative, body = split_sign(body)
    if body in ("inf", "infinity"):
        return -math.inf if negative else math.inf
    mantissa, e, exponent = body.partition("e")
    whole, _, fraction = mantissa.partition(".")
    _, power = split_sign(exponent)
    if not is_digits(whole + fraction) or (e and not is_digits(power)):
        return None
    tens = max(-2000, min(2000, int(exponent or 0))) - len(fraction)  # beyond that every double is 0 or infinite
    number = int(whole + fraction) * Fraction(10) ** tens
    if number == 0:
        return -0.0 if negative else number
    return -number if negative else number


def parse_whole(text: str) -> Number | None:
    """Whitespace, sign, digits, at most a fraction of zeros."""
    negative, body = split_sign(text.strip(WHITESPACE))
    whole, _, fraction = body.partition(".")
    if not is_digits(whole) or set(fraction) - {"0"}:
        return None
    return Fraction(-int(whole) if negative else int(whole))


def split_sign(text: str) -> tuple[bool, str]:
    return text.startswith("-"), text[1:] if text[:1] in ("+", "-") else text


def is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def nearest(number: Number, dtype: type[np.floating[Any]]) -> float:
    """The IEEE float nearest to the number, ties to even; infinite from half a step beyond the largest one."""
    if isinstance(number, float):
        return number
    sign, largest = (-1.0 if number < 0 else 1.0), dtype(np.finfo(dtype).max)
    if abs(number) >= Fraction(float(largest)) + step_below(largest) / 2:
        return sign * math.inf
    with np.errstate(over="ignore", under="ignore"):
        guess = dtype(max(-float(largest), min(float(largest), to_double(number))))
        around = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]
    best = min((n for n in around if np.isfinite(n)), key=lambda n: (abs(Fraction(float(n)) - number), is_odd(n)))
    return math.copysign(float(best), sign)


def to_double(number: Fraction) -> float:
    """A double in the neighbourhood, which is all that is needed here."""
    try:
        return number.numerator / number.denominator
    except OverflowError:
        return math.copysign(math.inf, number)


def step_below(number: np.floating[Any]) -> Fraction:
    return Fraction(float(number)) - Fraction(float(np.nextafter(number, number.dtype.type(0))))


def is_odd(number: np.floating[Any]) -> bool:
    return bool(number.view(f"u{number.dtype.itemsize}") & 1)


def as_float(value: Any, dtype: type[np.floating[Any]]) -> Outcome:
    number = parse_number(value) if isinstance(value, str) else exact(value)
    if number is None:
        return UNFIT
    result = nearest(number, dtype)
    overflows = math.isinf(result) and not isinstance(number, float)
    return UNFIT if overflows else Outcome(result)


def as_whole(value: Any, bits: int) -> Outcome:
    number = parse_whole(value) if isinstance(value, str) else exact(value)
    if number is None or number in (math.inf, -math.inf) or number != int(number):
        return UNFIT
    return Outcome(int(number)) if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else UNFIT


def as_flag(value: Any) -> Outcome:
    if isinstance(value, str):
        flag = {"true": True, "false": False}.get(value.strip(WHITESPACE).lower())
    else:
        flag = {0: False, 1: True}.get(exact(value))  # type: ignore[call-overload]
    return UNFIT if flag is None else Outcome(flag)


def as_text(value: Any) -> Outcome:
    """Floats stay floats: their text is Java's, and is read back to compare."""
    if isinstance(value, float | str):
        return Outcome(value)
    if isinstance(value, bool):
        return Outcome("true" if value else "false")
    if isinstance(value, datetime):
        return Outcome(instant_text(value))
    return Outcome(value.isoformat() if isinstance(value, date) else str(value))


def instant_text(value: datetime) -> str:
    moment = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
    text = moment.isoformat(sep=" ")
    return text.rstrip("0") if "." in text else text


MISSING = {
    "double": Outcome(math.nan),
    "float": Outcome(math.nan),
    "long": Outcome(problem="null"),
    "integer": Outcome(problem="null"),
    "boolean": Outcome(problem="null"),
    "string": Outcome(None),
}
ORACLES: dict[str, Callable[[Any], Outcome]] = {
    "double": partial(as_float, dtype=np.float64),
    "float": partial(as_float, dtype=np.float32),
    "long": partial(as_whole, bits=64),
    "integer": partial(as_whole, bits=32),
    "boolean": as_flag,
    "string": as_text,
}


def expected_leniently(value: Any, source: str, target: str) -> Outcome:
    """The lenient preset: no bad rows; 0 for a null or a value that does not fit; what is not 0 is true."""
    if target == "boolean" and not isinstance(value, str | None) and not is_missing(value, target):
        return Outcome(exact(value) != 0)
    if target == "string":
        return expected(value, source, target)
    strict = expected(value, source, target)
    zero: Any = {"double": 0.0, "float": 0.0, "boolean": False}.get(target, 0)
    return Outcome(zero) if is_missing(value, target) or strict.problem else strict


# --- edge values ------------------------------------------------------------------------------------------------

POWERS = (7, 8, 15, 16, 24, 31, 32, 53, 54, 63, 64)
WHOLES = sorted({sign * (2**n) + d for n in POWERS for sign in (1, -1) for d in (-1, 0, 1)} | {0, 1, -1, 2, 10, 100})
TWICE_ROUNDED = 2**60 + 2**36 + 1
"""Just above the middle of two floats; its nearest double is the middle."""
FLOAT_MAX = (2**24 - 1) * 2.0**104
FLOAT_LIMIT = 2.0**128 - 2.0**103
"""The first double whose nearest float is infinite."""
FLOATS = (
    *(0.0, -0.0, math.nan, math.inf, -math.inf, 1.0, -1.0, 0.5, 0.1, 1.5, 1e23, 2147483647.5),
    *(float(n) for n in WHOLES),
    *(math.nextafter(2.0**63, 0), math.nextafter(-(2.0**63), -math.inf), math.nextafter(1.0, 2), 2.0**31 - 128),
    *(FLOAT_MAX, -FLOAT_MAX, FLOAT_LIMIT, -FLOAT_LIMIT, math.nextafter(FLOAT_LIMIT, 0), 1.7976931348623157e308),
    *(5e-324, -5e-324, 2.2250738585072014e-308, 2.0**-149, 2.0**-150, -(2.0**-150), math.nextafter(2.0**-150, 1)),
    *(1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-52, 1 + 3 * 2.0**-24, -1e300, 1e300),
)
DECIMAL_TEXTS = (
    *("0", "1", "-1", "0.5", "0.1", "0.01", "1.5", "-0.99", "0.99", "1.01", "0.000001", "0.0000001", "1e-18", "1e-38"),
    *("1.000000059604644775390625", "1.0000000596046447753906250000000000001", "16777217.000000000000000001"),
    *("9007199254740993", "9007199254740993.000000000000000001", "0.1000000000000000055511151231257827021"),
    *("2147483647.5", "-2147483648.01", "9223372036854775807.000000000000000001", str(TWICE_ROUNDED)),
)
TEXTS = (
    *("", " ", "\t\n", "+", "-", ".", "+.", "e5", "1e", "1e+", "1.e", "--1", "+-1", "1 2", "1,000", "1_000", "0x10"),
    *(
        "1d",
        "1f",
        "1D",
        "1L",
        "0x1p3",
        "NaNs",
        "infinit",
        "++inf",
        "nul",
        "null",
        "None",
        "1e5.5",
        "1.2.3",
        "\u0661",
        "\uff11",
    ),
    *("0", "-0", "+0", "00", "-0.0", "0.0", "1", "-1", "+1", "01", "1.", ".5", "-.5", "+.5e-3", "1.0", "1.00", "1.10"),
    *(" 1", "1 ", "\t1\n", "\r\n1\x0b\x0c", "1e3", "1E3", "1e+3", "1e-3", "1e03", "12.50", "0.1", "-1.0000", "1.e2"),
    *("nan", "NaN", "NAN", " nan ", "inf", "-inf", "+Inf", "INFINITY", "-Infinity", "\tinfinity\n", "iNf"),
    *("true", "TRUE", "True", " true\n", "false", "False", "\tFALSE", "t", "F", "yes", "no", "y", "N", "tru", "falsey"),
    *("1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e309", "-1e309", "1e400"),
    *("3.4028235e38", "3.4028235677973366e38", "3.4028235677973365e38", "3.5e38", "-3.5e38", "1e39"),
    *("5e-324", "2.4703282292062328e-324", "2e-324", "-1e-400", "1e-400", "1.4e-45", "7e-46", "8e-46", "-1e-60"),
    *("1e99999999999", "-1e99999999999", "1e-99999999999", "0e99999999999", "1e2147483648", "-0e-2147483649"),
    *("9" * 400, "0" * 400, "0" * 400 + "7", "0." + "0" * 400 + "1", "1." + "0" * 400, "1." + "0" * 400 + "1"),
    *("2147483648.0", "2147483647.00", "9223372036854775807.5", "99999999999999999999", "-99999999999999999999"),
    *("10000000000000000000", "1" + "0" * 38, "1" + "0" * 39, "-" + "9" * 38, "2.147483647e9"),
    *("1\u2028", "1\u2029", "1\u0085", "true\u2028", "nan\u0085", "\u20281", "1\u00a0", "\u00a01", "\u30001"),
    *("1\x00", "\x001", "\x1f1", "1\x1c", "\ufeff1", "tru\u0435", "fal\u017fe", "\u0130nf", "\u0131nf", "na\u0274"),
    *("1\n2", "1\ntrue", "true\nfalse", "nan\n1", "a\n1", "1\r\n2", "inf\ninf"),
    *(str(n) for n in WHOLES),
    *(text.upper() for text in DECIMAL_TEXTS),
)
DATES = (
    *(date(1, 1, 1), date(999, 12, 31), date(1582, 10, 4), date(1582, 10, 15), date(1883, 11, 18), date(1900, 2, 28)),
    *(date(1969, 12, 31), date(1970, 1, 1), date(2000, 2, 29), date(2025, 11, 2), date(9999, 12, 31)),
)
MOMENTS = (
    *(datetime(day.year, day.month, day.day) for day in DATES),  # noqa: DTZ001
    *(datetime(2025, 11, 2, hour, 30) for hour in range(8)),  # noqa: DTZ001  (New York: 1:30 twice)
    *(datetime(2025, 3, 9, hour, 30) for hour in range(8)),  # noqa: DTZ001  (New York: no 2:30)
    *(datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(9999, 12, 31, 23, 59, 59, 999_999)),  # noqa: DTZ001
    *(datetime(2026, 1, 31, 23, 59, 59, micros) for micros in (1, 10, 100_000, 120_000, 123_456)),  # noqa: DTZ001
    *(datetime(1, 1, 1, 0, 0, 0, 1), datetime(1883, 11, 18, 17), datetime(1582, 10, 10, 12, 34, 56, 700)),  # noqa: DTZ001
)


def whole_edges(bits: int) -> list[int]:
    return [n for n in (*WHOLES, TWICE_ROUNDED) if -(2 ** (bits - 1)) <= n < 2 ** (bits - 1)]


def single(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def decimal_of(unscaled: int, scale: int) -> Decimal:
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def decimal_edges(precision: int, scale: int) -> list[Decimal]:
    """The ends of the type, the smallest steps, and all other edges that it can hold."""
    wanted = [Fraction(n) for n in WHOLES] + [Fraction(text) for text in DECIMAL_TEXTS]
    near = {math.floor(number * 10**scale) + step for number in wanted for step in (-1, 0, 1)}
    ends = {sign * (10**precision - step) for sign in (1, -1) for step in (1, 2)}
    return [decimal_of(n, scale) for n in sorted(near | ends) if abs(n) < 10**precision]


def edges_of(source: str) -> list[Any]:
    if source in WHOLE_BITS:
        return list(whole_edges(WHOLE_BITS[source]))
    if source.startswith("decimal"):
        return list(decimal_edges(*digits_of(source)))
    return list(OTHER_EDGES[source])


def digits_of(source: str) -> tuple[int, int]:
    type_ = TYPES[source]
    assert isinstance(type_, T.DecimalType)
    return type_.precision, type_.scale


OTHER_EDGES: dict[str, Sequence[Any]] = {
    "boolean": (True, False),
    "float": list({struct.pack("d", single(value)): single(value) for value in FLOATS}.values()),
    "double": FLOATS,
    "string": TEXTS,
    "date": DATES,
    "timestamp": [moment.replace(tzinfo=timezone.utc) for moment in MOMENTS],
    "timestamp_ntz": MOMENTS,
}


# --- values by hypothesis ---------------------------------------------------------------------------------------

ROWS = 40


def number_texts() -> SearchStrategy[str]:
    digits, space = st.text("0123456789", max_size=25), st.text(WHITESPACE, max_size=2)
    sign = st.sampled_from(["", "+", "-"])
    fraction = st.just("") | digits.map(".{}".format) | st.sampled_from([".0", ".000"])
    exponent = st.just("") | st.builds("{}{}".format, st.sampled_from("eE"), st.integers(-400, 400))
    return st.builds("{}{}{}{}{}{}".format, space, sign, digits, fraction, exponent, space)


def random_values(source: str) -> SearchStrategy[Any]:
    if source in WHOLE_BITS:
        bits = WHOLE_BITS[source] - 1
        return st.integers(-(2**bits), 2**bits - 1)
    if source.startswith("decimal"):
        precision, scale = digits_of(source)
        return st.integers(1 - 10**precision, 10**precision - 1).map(partial(decimal_of, scale=scale))
    return RANDOM[source]


RANDOM: dict[str, SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "float": st.floats(width=32) | st.integers(-(2**64), 2**64).map(single),
    "double": st.floats() | st.integers(-(2**64), 2**64).map(float) | st.floats(-FLOAT_LIMIT, FLOAT_LIMIT),
    "string": number_texts() | st.text(max_size=8) | st.sampled_from(TEXTS).map(str.swapcase),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(timezone.utc)),
    "timestamp_ntz": st.datetimes(),
}


def tables(family: str) -> SearchStrategy[Table]:
    """Half random values, half edge values, and nulls, of each source of the family."""
    values = {s: st.none() | st.sampled_from(edges_of(s)) | random_values(s) for s in FAMILIES[family]}
    return st.fixed_dictionaries({s: st.lists(v, min_size=ROWS, max_size=ROWS) for s, v in values.items()})


# --- what Spark makes of them -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """One value of one cell after Spark."""

    cell: tuple[str, str]
    given: Any
    lane: Any
    problem: str | None
    touched: bool


def cells(sources: Sequence[str]) -> list[tuple[str, str]]:
    """The cells that are not refused."""
    return [(s, t) for s in sources for t in TARGETS if t == "string" or s not in CALENDAR]


def plan_of(pairs: Sequence[tuple[str, str]], preset: Preset = "strict") -> ScoringPlan:
    """A plan with one feature per cell, which reads the column named as its source."""
    spec = ModelSpec(
        uri="models:/cells/1",
        name=None,
        version=None,
        run_id=None,
        digest="",
        path="",
        flavor="python_function",
        inputs=tuple(Feature(f"{s} to {t}", t) for s, t in pairs),
        output="double",
    )
    expressions = {f"{s} to {t}": Expression(quote(s), TYPES[s]) for s, t in pairs}
    return make_plan(spec, T.StructType([]), Request(policy=Policy.of(preset), expressions=expressions))


def frame_of(spark: SparkSession, table: Table) -> DataFrame:
    """The table with a column per source; shorter columns end in nulls."""
    schema = T.StructType([T.StructField(source, TYPES[source]) for source in table])
    return spark.createDataFrame(list(zip_longest(*table.values())), schema)


@cache
def prepared_for(sources: tuple[str, ...], preset: Preset, ansi: str | None) -> Prepared:
    """Made once per ANSI mode, which a cast may take from the session it is made in: hundreds of calls to the JVM."""
    return prepare(plan_of(cells(sources), preset))


def scored(spark: SparkSession, table: Table, preset: Preset = "strict") -> Iterator[Scored]:
    """Every value in every cell of its source: one Spark job."""
    prepared = prepared_for(tuple(table), preset, spark.conf.get("spark.sql.ansi.enabled"))
    lanes = [lane.column.alias(f"lane {i}") for i, lane in enumerate(prepared.lanes)]
    touched = [column.alias(f"touched {name}") for name, column in prepared.touched.items()]
    columns = [*lanes, *touched, prepared.ok.alias("ok"), prepared.error.alias("error")]
    rows = frame_of(spark, table).select(*columns).collect()
    for given_row, row in zip(zip_longest(*table.values()), rows, strict=True):
        given = dict(zip(table, given_row, strict=True))
        problems = dict(part.split(": ", 1) for part in (row["error"] or "").split("; ") if part)
        assert row["ok"] == (row["error"] is None)
        for i, lane in enumerate(prepared.lanes):
            values = row[f"lane {i}"] if lane.packed else [row[f"lane {i}"]]
            for name, value in zip(lane.features, values, strict=True):
                source, target = name.split(" to ")
                was_touched = name in prepared.touched and row[f"touched {name}"]
                yield Scored((source, target), given[source], value, problems.get(name), was_touched)


def differences(results: Iterator[Scored], oracle: Callable[[Any, str, str], Outcome]) -> list[str]:
    """A line per value that is not as expected."""
    wrong = []
    for result in results:
        outcome = oracle(result.given, *result.cell)
        if not agrees(result, outcome):
            what = f"{result.lane!r}, {result.problem}"
            wrong.append(f"{' to '.join(result.cell)}: {result.given!r} became {what}, expected {outcome}")
    return wrong


def agrees(result: Scored, outcome: Outcome) -> bool:
    if outcome.problem is not None:
        found = result.problem if result.problem in (None, "null") else "unfit"
        return found == outcome.problem and may_stand_in(result)
    return result.problem is None and same(result.lane, outcome.value, result.cell[0])


def may_stand_in(result: Scored) -> bool:
    """A bad row's value is of no account, but a null in a packed lane would change the dtype of its batch."""
    return result.cell[1] == "string" or result.lane is not None


def same(found: Any, wanted: Any, source: str) -> bool:
    """Equal in type and to the bit; any NaN is NaN."""
    if isinstance(found, str) and isinstance(wanted, float):
        number = parse_number(found)
        return number is not None and same(nearest(number, np.float32 if source == "float" else np.float64), wanted, "")
    if isinstance(found, float) and isinstance(wanted, float):
        return (math.isnan(found) and math.isnan(wanted)) or struct.pack("d", found) == struct.pack("d", wanted)
    return type(found) is type(wanted) and found == wanted


@pytest.fixture
def configure(spark: SparkSession) -> Iterator[Callable[[Mapping[str, str]], SparkSession]]:
    """Sets Spark's options; they are as before when the test is over."""
    names = sorted({name for options in (*SESSIONS, INTERPRETED) for name in options})
    before = {name: spark.conf.get(name) for name in names}

    def apply(options: Mapping[str, str]) -> SparkSession:
        for name, value in {**before, **options}.items():
            spark.conf.set(name, value or "")
        return spark

    yield apply
    apply({})


Configure = Callable[[Mapping[str, str]], "SparkSession"]


def session_id(options: Mapping[str, str]) -> str:
    return f"ansi={options['spark.sql.ansi.enabled']}, {options['spark.sql.session.timeZone']}"


def edge_table(family: str) -> Table:
    return {source: [None, *edges_of(source)] for source in FAMILIES[family]}


# --- tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SESSIONS, ids=session_id)
@pytest.mark.parametrize("family", FAMILIES)
def test_edge_values_convert_as_exact_arithmetic_says(
    configure: Configure, family: str, options: Mapping[str, str]
) -> None:
    spark = configure(options)
    assert differences(scored(spark, edge_table(family)), expected) == []


@pytest.mark.parametrize("options", in_short(1, SESSIONS[1:]), ids=session_id)
@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a smaller example says no more than the line of its value, and each is a Spark job
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_random_values_convert_as_exact_arithmetic_says(
    configure: Configure, family: str, options: Mapping[str, str], data: st.DataObject
) -> None:
    spark = configure(options)
    assert differences(scored(spark, data.draw(tables(family))), expected) == []


@pytest.mark.parametrize("options", SESSIONS, ids=session_id)
def test_the_first_and_the_last_instant_have_a_text(configure: Configure, options: Mapping[str, str]) -> None:
    ends = configure(options).createDataFrame([(-(2**63),), (2**63 - 1,)], "micros bigint")
    (text,) = prepare(plan_of([("timestamp", "string")])).lanes
    rows = ends.selectExpr("timestamp_micros(micros) AS timestamp").select(text.column).collect()
    assert [row[0] for row in rows] == ["-290308-12-21 19:59:05.224192", "+294247-01-10 04:00:54.775807"]


@pytest.mark.parametrize("family", FAMILIES)
def test_edge_values_convert_alike_without_generated_code(configure: Configure, family: str) -> None:
    spark = configure(INTERPRETED)
    assert differences(scored(spark, edge_table(family)), expected) == []


def test_floats_have_the_same_text_and_bits_in_every_session(configure: Configure) -> None:
    table = edge_table("floating")
    first, *others = [list(map(repr, scored(configure(options), table))) for options in (*SESSIONS, INTERPRETED)]
    assert [results == first for results in others] == [True] * len(SESSIONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lenient_policy_never_makes_a_bad_row(configure: Configure, family: str) -> None:
    spark = configure(SESSIONS[1])
    assert differences(scored(spark, edge_table(family), "lenient"), expected_leniently) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lenient_policy_counts_every_value_that_it_replaces(configure: Configure, family: str) -> None:
    results = scored(configure(SESSIONS[2]), edge_table(family), "lenient")
    assert [r for r in results if r.touched != is_replaced(r.given, *r.cell)] == []


def is_replaced(value: Any, source: str, target: str) -> bool:
    if target == "string":
        return False
    if target == "boolean" and not isinstance(value, str):
        return is_missing(value, target)
    return is_missing(value, target) or expected(value, source, target).problem is not None


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "string"])
@pytest.mark.parametrize("source", CALENDAR)
def test_dates_and_times_are_refused_as_numbers_and_flags(source: str, target: str) -> None:
    with pytest.raises(PlanError, match=f"no meaningful conversion from {source.upper()}"):
        plan_of([(source, target)])


def test_the_oracle_rounds_as_numpy_does() -> None:
    values = [v for v in FLOATS if math.isfinite(v)]
    wrong = [v for v in values if not same(nearest(exact(v), np.float32), single(v), "")]
    assert wrong == []
    assert nearest(Fraction(TWICE_ROUNDED), np.float32) > single(float(TWICE_ROUNDED))
