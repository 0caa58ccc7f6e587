"""The conversion table of the design, cell by cell, against the rules. No Spark session."""

from __future__ import annotations

import pytest
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.plan.rules import NONZERO, Refusal, Rule, rule_for

TARGETS = ("double", "float", "long", "integer", "boolean", "string")

TYPES: dict[str, T.DataType] = {
    "boolean": T.BooleanType(),
    "byte": T.ByteType(),
    "short": T.ShortType(),
    "int": T.IntegerType(),
    "long": T.LongType(),
    "float": T.FloatType(),
    "double": T.DoubleType(),
    "string": T.StringType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
    "timestamp_ntz": T.TimestampNTZType(),
}

# From the Spark type at the left to the model type above. A ``+`` behind a verdict: values that do not fit are
# bad rows; ``checked`` says so by itself, and of the others only double to float has it (overflow).
SCALARS = """
                double   float    long     integer  boolean  string
boolean         exact    exact    exact    exact    exact    renders
byte            exact    exact    exact    exact    checked+ renders
short           exact    exact    exact    exact    checked+ renders
int             exact    rounds   exact    exact    checked+ renders
long            rounds   rounds   exact    checked+ checked+ renders
float           exact    exact    checked+ checked+ checked+ renders
double          exact    rounds+  checked+ checked+ checked+ renders
string          checked+ checked+ checked+ checked+ checked+ exact
date            refused  refused  refused  refused  refused  renders
timestamp       refused  refused  refused  refused  refused  renders
timestamp_ntz   refused  refused  refused  refused  refused  renders
"""

# Decimals by precision and scale. The design checks decimal to float for overflow; DECIMAL ends at 1e38 and
# float at 3.4e38, so there is nothing to check.
DECIMALS = """
                double   float    long     integer  boolean  string
1,0             rounds   rounds   exact    exact    checked+ renders
9,0             rounds   rounds   exact    exact    checked+ renders
10,0            rounds   rounds   exact    checked+ checked+ renders
18,0            rounds   rounds   exact    checked+ checked+ renders
19,0            rounds   rounds   checked+ checked+ checked+ renders
38,0            rounds   rounds   checked+ checked+ checked+ renders
9,1             rounds   rounds   checked+ checked+ checked+ renders
12,2            rounds   rounds   checked+ checked+ checked+ renders
18,18           rounds   rounds   checked+ checked+ checked+ renders
38,18           rounds   rounds   checked+ checked+ checked+ renders
38,37           rounds   rounds   checked+ checked+ checked+ renders
38,38           rounds   rounds   checked+ checked+ checked+ renders
"""

REFUSED: tuple[T.DataType, ...] = (
    T.BinaryType(),
    T.ArrayType(T.DoubleType()),
    T.MapType(T.StringType(), T.DoubleType()),
    T.StructType([T.StructField("a", T.DoubleType())]),
    T.DayTimeIntervalType(),
    T.YearMonthIntervalType(),
)


def cells(table: str) -> list[tuple[str, str, str]]:
    """(source, target, verdict) of each cell of a text table."""
    header, *rows = (line.split() for line in table.strip().splitlines())
    return [
        (source, target, verdict)
        for source, *verdicts in rows
        for target, verdict in zip(header, verdicts, strict=True)
    ]


def shown(rule: Rule | Refusal) -> str:
    """A rule in the notation of the tables."""
    if isinstance(rule, Refusal):
        return "refused"
    return rule.verdict + ("+" if rule.reason is not None else "")


def decimal_type(digits: str) -> T.DecimalType:
    precision, scale = digits.split(",")
    return T.DecimalType(int(precision), int(scale))


@pytest.mark.parametrize(("source", "target", "verdict"), cells(SCALARS))
def test_the_verdict_is_the_design_s(source: str, target: str, verdict: str) -> None:
    assert shown(rule_for(TYPES[source], target)) == verdict


@pytest.mark.parametrize(("digits", "target", "verdict"), cells(DECIMALS))
def test_the_verdict_of_a_decimal_depends_on_its_precision_and_scale(digits: str, target: str, verdict: str) -> None:
    assert shown(rule_for(decimal_type(digits), target)) == verdict


def test_the_tables_have_every_cell() -> None:
    assert {(s, t) for s, t, _ in cells(SCALARS)} == {(s, t) for s in TYPES for t in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", REFUSED, ids=lambda t: t.simpleString())
def test_types_without_a_row_are_refused(source: T.DataType, target: str) -> None:
    assert isinstance(rule_for(source, target), Refusal)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", [T.CharType(4), T.VarcharType(40)], ids=lambda t: t.simpleString())
def test_char_and_varchar_are_strings(source: T.DataType, target: str) -> None:
    assert rule_for(source, target) == rule_for(T.StringType(), target)


@pytest.mark.parametrize(
    "source", [T.IntegerType(), T.DoubleType(), T.DecimalType(12, 2)], ids=lambda t: t.simpleString()
)
def test_under_the_lenient_policy_every_number_is_a_flag(source: T.DataType) -> None:
    rule = rule_for(source, "boolean")
    assert isinstance(rule, Rule)
    assert (rule.conversion, NONZERO.conversion, NONZERO.reason) == ("zero_one", "nonzero", None)
