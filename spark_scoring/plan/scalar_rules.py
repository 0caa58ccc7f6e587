"""The table of rules: a single value of a Spark type for a model's data type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.model.types import ANY, INTEGER_RANGES
from spark_scoring.plan.verdicts import Refusal, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql.types import DataType

    from spark_scoring.model.types import ModelType

_EXACT = Rule("exact", "cast")
_SAME = Rule("exact", "same")
_FLAG = Rule("exact", "cast", "true is 1, false is 0")
_RENDERS = Rule("renders", "cast", "text form of a non-text value")
_ROUNDS_53 = Rule("rounds", "cast", "the nearest double above 2^53")
_ROUNDS_24 = Rule("rounds", "cast", "the nearest float above 2^24")
_TO_DOUBLE = Rule("rounds", "cast", "the nearest double")
_TO_FLOAT = Rule("rounds", "cast", "the nearest float")
_NARROW = Rule("rounds", "narrow", "the nearest float, only within its range", "too large")
_RANGE = Rule("checked", "whole", "only values in range", "out of range")
_WHOLE = Rule("checked", "whole", "only whole numbers in range", "not a whole number in range")
_ZERO_ONE = Rule("checked", "zero_one", "only 0 and 1", "not 0 or 1")
_NUMBER_TEXT = Rule("checked", "parse_number", "only text of a number", "not a number")
_WHOLE_TEXT = Rule("checked", "parse_whole", "only text of a whole number in range", "not a whole number in range")
_FLAG_TEXT = Rule("checked", "parse_flag", "only true and false, in any case", "not true or false")
_NANOSECONDS = "only 1677-09-21 to 2262-04-11: the model's times are nanoseconds"
_TIME_TEXT = f"only ISO 8601 text, UTC without an offset; {_NANOSECONDS}"

SCALAR_RULES: dict[str, dict[str, Rule]] = {
    "double": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _EXACT,
        "long": _ROUNDS_53,
        "float": _EXACT,
        "double": _SAME,
        "decimal": _TO_DOUBLE,
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
        "decimal": _TO_FLOAT,  # DECIMAL(38, 0) ends below 1e38, the largest float is 3.4e38
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
    "binary": {
        "binary": _SAME,
    },
    "datetime": {
        "date": Rule("exact", "date_micros", f"midnight; {_NANOSECONDS}", "out of range"),
        "timestamp": Rule("exact", "instant_micros", f"in UTC; {_NANOSECONDS}", "out of range"),
        "timestamp_ntz": Rule("exact", "wall_clock_micros", f"taken as UTC; {_NANOSECONDS}", "out of range"),
        "string": Rule("checked", "parse_instant", _TIME_TEXT, "not a time in range"),
    },
}
"""By MLflow type, then by kind of the Spark type; what is not here is refused."""

NONZERO = Rule("checked", "nonzero", "0 is false, any other number true")
"""Numbers to boolean under the lenient policy."""

VOID = Rule("exact", "void", "the column is null in every row")
"""The rule of a column without a type."""

_WHOLE_DIGITS = {"long": 18, "integer": 9}
"""Decimal digits that always fit: 10^18 - 1 < 2^63, 10^9 - 1 < 2^31."""

WHOLE_RANGES = {
    "byte": INTEGER_RANGES["int8"],
    "short": INTEGER_RANGES["int16"],
    "integer": INTEGER_RANGES["integer"],
    "long": INTEGER_RANGES["long"],
}
"""The values of Spark's integer types, by their kind."""
_SOURCE_RANGES = {"boolean": (0, 2), **WHOLE_RANGES}

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
    "BinaryType": "binary",
    "DateType": "date",
    "TimestampType": "timestamp",
    "TimestampNTZType": "timestamp_ntz",
    "NullType": "void",
    "ArrayType": "array",
    "MapType": "map",
    "StructType": "struct",
}

_TAKEN_AS_IT_IS = ("boolean", "byte", "short", "integer", "long", "float", "double", "string", "binary")
"""What a model without an input type gets as it is."""

_NUMBERS = ("integer", "long", "float", "double")
_HINTS = {
    "binary": "say what the text or the bytes are: unbase64(x), encode(x, 'UTF-8'), decode(x, 'UTF-8')",
    "variant": "take a typed value out of it: variant_get(x, '$.path', 'double')",
    "map": "take values out of it: x['key']; or struct(x['a'] AS a, ...)",
}


def kind_of(source: DataType) -> str:
    """The source type's key in the table; a type that is not in it is its own simple string."""
    return _KINDS.get(type(source).__name__, source.simpleString())


def scalar_rule(source: DataType, target: str) -> Rule | Refusal:
    """The cell for a Spark type and a data type's name, or why there is none."""
    kind = kind_of(source)
    if target == ANY:
        return _any_rule(source)
    if kind == "decimal" and target in _WHOLE_DIGITS:
        return _decimal_to_whole(source, target)
    rule = _small_whole_rule(kind, target) if target not in SCALAR_RULES else SCALAR_RULES[target].get(kind)
    return refused(source, target) if rule is None else rule


def _decimal_to_whole(source: DataType, target: str) -> Rule:
    precision, scale = source.precision, source.scale  # type: ignore[attr-defined]
    if scale == 0 and precision <= _WHOLE_DIGITS[target]:
        return _EXACT
    return _RANGE if scale == 0 else _WHOLE


def _small_whole_rule(kind: str, target: str) -> Rule | None:
    """Numpy's smaller integers: as ``integer``, but for what lies outside of their range."""
    if kind in _SOURCE_RANGES:
        low, high = INTEGER_RANGES[target]
        source_low, source_high = _SOURCE_RANGES[kind]
        return _EXACT if low <= source_low and source_high <= high else _RANGE
    return SCALAR_RULES["integer"].get(kind)


def _any_rule(source: DataType) -> Rule | Refusal:
    """Values as they are; what has no plain Python value is refused."""
    kind = kind_of(source)
    inner: Iterable[DataType] = ()
    match kind:
        case "array":
            inner = (source.elementType,)  # type: ignore[attr-defined]
        case "struct":
            inner = [field.dataType for field in source.fields]  # type: ignore[attr-defined]
        case _ if kind not in _TAKEN_AS_IT_IS:
            fix = "the model names no type for it; give one: CAST(x AS double), CAST(x AS string)"
            return Refusal(refused(source, ANY).cause, fix)
    for type_ in inner:
        if isinstance(rule := _any_rule(type_), Refusal):
            return rule
    return Rule("exact", "same", "as it is: the model names no type")


def refused(source: DataType, target: ModelType) -> Refusal:
    """That the two types do not go together, with a hint where SQL could help."""
    kind = kind_of(source)
    hint = _HINTS["binary"] if target == "binary" else _HINTS.get(kind)
    if kind == "date" and target in _NUMBERS:
        hint = "say which number: datediff(DATE '2026-01-01', x), unix_date(x), year(x), month(x), dayofweek(x)"
    shown = "a model without input types" if target == ANY else target
    return Refusal(f"no meaningful conversion from {source.simpleString().upper()} to {shown}", hint)
