"""(Spark type, model type) -> how a value is converted, as data.

A rule holds for the type, never for the values that a batch happens to have, and depends neither on
``spark.sql.ansi.enabled`` nor on the session time zone nor on the Spark version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

Verdict = Literal["exact", "rounds", "checked", "renders", "default", "refused"]

Conversion = Literal[
    "same",
    "cast",
    "narrow",
    "whole",
    "zero_one",
    "nonzero",
    "parse_number",
    "parse_whole",
    "parse_flag",
    "decimal_text",
    "instant_text",
]
"""How ``engine.casts`` makes the value; the names are keys of its table."""

Reason = Literal[
    "out of range",
    "not a whole number in range",
    "not a number",
    "not 0 or 1",
    "not true or false",
    "too large",
]
"""Why a value does not fit: what a bad row's ``scoring_error`` says behind the feature's name."""


@dataclass(frozen=True)
class Rule:
    """One cell of the table."""

    verdict: Verdict
    conversion: Conversion
    note: str = ""
    """What a person should know of the conversion."""
    reason: Reason | None = None
    """What a value that does not fit is called; None where every value fits."""


_EXACT = Rule("exact", "cast")
_SAME = Rule("exact", "same")
_FLAG = Rule("exact", "cast", "true is 1, false is 0")
_RENDERS = Rule("renders", "cast", "text form of a non-text value")
_ROUNDS_53 = Rule("rounds", "cast", "nearest double above 2^53")
_ROUNDS_24 = Rule("rounds", "cast", "nearest float above 2^24")
_ROUNDS = Rule("rounds", "cast", "nearest representable value")
_NARROW = Rule("rounds", "narrow", "nearest float, only within its range", "too large")
_RANGE = Rule("checked", "whole", "only values in range", "out of range")
_WHOLE = Rule("checked", "whole", "only whole numbers in range", "not a whole number in range")
_ZERO_ONE = Rule("checked", "zero_one", "only 0 and 1", "not 0 or 1")
_NUMBER_TEXT = Rule("checked", "parse_number", "only text of a number", "not a number")
_WHOLE_TEXT = Rule("checked", "parse_whole", "only text of a whole number in range", "not a whole number in range")
_FLAG_TEXT = Rule("checked", "parse_flag", "only true and false, in any case", "not true or false")

_RULES: dict[str, dict[str, Rule]] = {
    "double": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _EXACT,
        "long": _ROUNDS_53,
        "float": _EXACT,
        "double": _SAME,
        "decimal": _ROUNDS,
        "string": _NUMBER_TEXT,
    },
    "float": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _ROUNDS_24,
        "long": _ROUNDS_24,
        "float": _SAME,
        "double": _NARROW,
        "decimal": _ROUNDS,  # DECIMAL(38, 0) ends below 1e38, the largest float is 3.4e38
        "string": _NUMBER_TEXT,
    },
    "long": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _EXACT,
        "long": _SAME,
        "float": _WHOLE,
        "double": _WHOLE,
        "decimal": _WHOLE,
        "string": _WHOLE_TEXT,
    },
    "integer": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _SAME,
        "long": _RANGE,
        "float": _WHOLE,
        "double": _WHOLE,
        "decimal": _WHOLE,
        "string": _WHOLE_TEXT,
    },
    "boolean": {
        "boolean": _SAME,
        "byte": _ZERO_ONE,
        "short": _ZERO_ONE,
        "integer": _ZERO_ONE,
        "long": _ZERO_ONE,
        "float": _ZERO_ONE,
        "double": _ZERO_ONE,
        "decimal": _ZERO_ONE,
        "string": _FLAG_TEXT,
    },
    "string": {
        "boolean": _RENDERS,
        "byte": _RENDERS,
        "short": _RENDERS,
        "integer": _RENDERS,
        "long": _RENDERS,
        "float": _RENDERS,
        "double": _RENDERS,
        "decimal": Rule("renders", "decimal_text", "plain digits with the column's scale"),
        "string": _SAME,
        "date": _RENDERS,
        "timestamp": Rule("renders", "instant_text", "UTC, as 2026-01-31 23:59:59"),
        "timestamp_ntz": _RENDERS,
    },
}

NONZERO = Rule("checked", "nonzero", "0 is false, any other number true")
"""Numbers to boolean under the lenient policy."""

_WHOLE_DIGITS = {"long": 18, "integer": 9}
"""Decimal digits that always fit: 10^18 - 1 < 2^63, 10^9 - 1 < 2^31."""

_KINDS = {
    "BooleanType": "boolean",
    "ByteType": "byte",
    "ShortType": "short",
    "IntegerType": "integer",
    "LongType": "long",
    "FloatType": "float",
    "DoubleType": "double",
    "DecimalType": "decimal",
    "StringType": "string",
    "CharType": "string",
    "VarcharType": "string",
    "DateType": "date",
    "TimestampType": "timestamp",
    "TimestampNTZType": "timestamp_ntz",
}


def kind_of(source: DataType) -> str:
    """The source type's key in the table; a type that is not in it is its own simple string."""
    return _KINDS.get(type(source).__name__, source.simpleString())


def rule_for(source: DataType, target: str) -> Rule | None:
    """The cell for a Spark type and an MLflow scalar type; None where there is no meaningful conversion."""
    kind = kind_of(source)
    if kind == "decimal" and target in _WHOLE_DIGITS:
        return _decimal_to_whole(source, target)
    return _RULES[target].get(kind)


def _decimal_to_whole(source: DataType, target: str) -> Rule:
    precision, scale = source.precision, source.scale  # type: ignore[attr-defined]
    if scale == 0 and precision <= _WHOLE_DIGITS[target]:
        return _EXACT
    return _RANGE if scale == 0 else _WHOLE
