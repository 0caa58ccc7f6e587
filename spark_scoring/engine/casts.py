"""A scoring plan as Spark columns: feature lanes for the worker, and the checks that keep bad rows from it.

Features of one numeric type travel as one array column (a lane) that holds no null: in float lanes a null is
NaN, in the others a placeholder whose row the check marks. Casts stand behind the check of their own value, so
nothing here depends on ``spark.sql.ansi.enabled``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.plan.policy import Fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyspark.sql import Column

    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.rules import Conversion

LANE_TYPES = {"double": "double", "float": "float", "long": "bigint", "integer": "int", "boolean": "boolean"}
"""MLflow types that share a lane, and the lane's Spark element type; all others travel alone."""

_PLACEHOLDERS = {"double": math.nan, "float": math.nan, "long": 0, "integer": 0, "boolean": False, "string": None}
_RANGES = {"long": (-(2**63), 2**63), "integer": (-(2**31), 2**31)}
_DIGITS = {"long": 19, "integer": 10}

# \z and not $: the latter also matches in front of a last line break, which a cast refuses.
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*\z"
_SPECIAL = r"(?i)^\s*(nan|[+-]?inf|[+-]?infinity)\s*\z"
_EPOCH = "1970-01-01 00:00:00"
_DAY_MICROS = 86_400_000_000


@dataclass(frozen=True)
class Lane:
    """One column on its way to the worker: an array of several features, or one feature alone."""

    type: str
    """MLflow type of its features."""
    features: tuple[str, ...]
    packed: bool
    column: Column


@dataclass(frozen=True)
class Prepared:
    """What scoring adds to the table before the worker sees it."""

    lanes: tuple[Lane, ...]
    ok: Column
    """Boolean, never null: the row passed every check."""
    error: Column
    """String: feature names and reasons of a row that did not pass, null for one that did."""
    touched: dict[str, Column]
    """Per feature whose values the policy may replace: whether it does so in this row."""


@dataclass(frozen=True)
class _Cast:
    """One feature's value, and the conditions of its row."""

    feature: PlannedFeature
    value: Column
    missing: Column | None
    invalid: Column | None


def prepare(plan: ScoringPlan) -> Prepared:
    """The plan as columns over the table it was made for. Runs no job."""
    casts = [_cast(feature) for feature in plan.features]
    bad = [condition for cast in casts for condition in _conditions(cast, "bad_row")]
    fatal = [condition for cast in casts for condition in _conditions(cast, "fail")]
    ok = ~_any(c for _, c in bad) if bad else F.lit(True)  # noqa: FBT003
    for text, condition in fatal:
        message = F.lit(f"spark_scoring: {text}, and the feature's policy is to fail")
        ok = F.when(condition, F.raise_error(message)).otherwise(ok)
    return Prepared(lanes=_lanes(casts), ok=ok, error=_error_text(bad), touched=_touched(casts))


def _lanes(casts: Sequence[_Cast]) -> tuple[Lane, ...]:
    lanes = []
    for type_ in LANE_TYPES:
        members = [c for c in casts if c.feature.type == type_]
        if members:
            column = F.array(*[c.value for c in members])
            lanes.append(Lane(type_, tuple(c.feature.name for c in members), packed=True, column=column))
    alone = [c for c in casts if c.feature.type not in LANE_TYPES]
    lanes += [Lane(c.feature.type, (c.feature.name,), packed=False, column=c.value) for c in alone]
    return tuple(lanes)


def _cast(feature: PlannedFeature) -> _Cast:
    placeholder = _constant(_PLACEHOLDERS[feature.type], feature.type)
    handling = feature.handling
    if feature.source is None:
        value = _filled(handling.absent, feature.type) if handling.absent else placeholder
        return _Cast(feature, value, missing=None, invalid=None)
    source = F.expr(feature.source)
    missing = _is_missing(source, feature)
    converted, fits = _CONVERSIONS[feature.conversion](source, feature)
    if fits is None and handling.nulls == "keep":
        value = converted if feature.type == "string" else F.coalesce(converted, placeholder)
        return _Cast(feature, value, missing=None, invalid=None)
    absent = _filled(handling.nulls, feature.type) if isinstance(handling.nulls, Fill) else placeholder
    value = F.when(missing, absent)
    invalid = None
    if fits is not None:
        unfit = _filled(handling.invalid, feature.type) if isinstance(handling.invalid, Fill) else placeholder
        value = value.when(~fits, unfit)
        invalid = ~missing & ~fits
    return _Cast(feature, value.otherwise(converted), missing=missing, invalid=invalid)


def _is_missing(source: Column, feature: PlannedFeature) -> Column:
    """Null, and NaN where the source can hold one: a float lane cannot tell them apart."""
    if feature.source_type in ("float", "double") and feature.type != "string":
        return source.isNull() | F.isnan(source)
    return source.isNull()


def _conditions(cast: _Cast, action: str) -> Iterable[tuple[str, Column]]:
    """What makes a row of this feature bad (or fatal), with the text that says so."""
    if cast.missing is not None and cast.feature.handling.nulls == action:
        yield f"{cast.feature.name}: null", cast.missing
    if cast.invalid is not None and cast.feature.handling.invalid == action:
        yield f"{cast.feature.name}: {cast.feature.reason}", cast.invalid


def _error_text(bad: Sequence[tuple[str, Column]]) -> Column:
    if not bad:
        return F.lit(None).cast("string")
    texts = F.concat_ws("; ", *[F.when(condition, F.lit(text)) for text, condition in bad])
    return F.when(_any(c for _, c in bad), texts)


def _touched(casts: Sequence[_Cast]) -> dict[str, Column]:
    touched = {}
    for cast in casts:
        handling = cast.feature.handling
        parts = [cast.missing] if isinstance(handling.nulls, Fill) and cast.missing is not None else []
        parts += [cast.invalid] if isinstance(handling.invalid, Fill) and cast.invalid is not None else []
        if parts:
            touched[cast.feature.name] = reduce(or_, parts)
    return touched


def _any(conditions: Iterable[Column]) -> Column:
    """Their disjunction as a balanced tree: a chain of thousands would overflow the optimizer's stack."""
    level = list(conditions)
    while len(level) > 1:
        level = [reduce(or_, level[i : i + 2]) for i in range(0, len(level), 2)]
    return level[0]


def _filled(fill: Fill, type_: str) -> Column:
    return _constant(_PLACEHOLDERS[type_] if fill.value is None else fill.value, type_)


def _constant(value: float | str | None, type_: str) -> Column:
    return F.lit(value).cast(LANE_TYPES.get(type_, "string"))


# One function per conversion: (source, feature) -> (value, whether the source's value fits; None where all do).
# The value is only evaluated where the source is not missing and fits.


def _same(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    return source, None


def _plain_cast(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    return source.cast(LANE_TYPES.get(feature.type, "string")), None


def _narrow(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    """Double to float: only a finite value that becomes infinite does not fit."""
    value = source.cast("float")
    return value, ~_is_infinite(value) | _is_infinite(source)


def _whole(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    low, high = _RANGES[feature.type]
    value = source.cast(LANE_TYPES[feature.type])
    if digits := _decimal_digits(feature):
        precision, scale = digits
        fits = F.lit(True) if scale == 0 else _has_no_fraction(source, scale)  # noqa: FBT003
        if precision - scale >= _DIGITS[feature.type]:
            fits = fits & (source >= F.lit(Decimal(low))) & (source < F.lit(Decimal(high)))
        return value, fits
    if feature.source_type in ("float", "double"):
        number = source.cast("double")
        whole = number % F.lit(1.0) == F.lit(0.0)
        return value, whole & (number >= F.lit(float(low))) & (number < F.lit(float(high)))
    return value, (source >= F.lit(low)) & (source < F.lit(high))


def _zero_one(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    zero, one = _is_number(source, feature, 0), _is_number(source, feature, 1)
    return one, zero | one


def _nonzero(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    return ~_is_number(source, feature, 0), None


def _parse_number(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    value = source.cast(LANE_TYPES[feature.type])
    special = source.rlike(_SPECIAL)
    return value, special | F.when(source.rlike(_NUMBER), ~_is_infinite(value)).otherwise(F.lit(False))  # noqa: FBT003


def _parse_whole(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    """Text of digits, with a fraction of zeros at most."""
    low, high = _RANGES[feature.type]
    pattern = rf"^\s*([+-]?)0*(\d{{1,{_DIGITS[feature.type]}}})(?:\.0*)?\s*\z"
    digits = F.concat(F.regexp_extract(source, pattern, 1), F.regexp_extract(source, pattern, 2))
    number = digits.cast("decimal(20,0)")
    in_range = (number >= F.lit(Decimal(low))) & (number < F.lit(Decimal(high)))
    fits = F.when(source.rlike(pattern), in_range).otherwise(F.lit(False))  # noqa: FBT003
    return number.cast(LANE_TYPES[feature.type]), fits


def _parse_flag(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    true, false = source.rlike(r"(?i)^\s*true\s*\z"), source.rlike(r"(?i)^\s*false\s*\z")
    return true, true | false


def _decimal_text(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    """Plain digits. Spark writes small values as 1E-18 unless ANSI is on; the digits before the E are all there."""
    _, scale = _decimal_digits(feature) or (0, 0)
    text = source.cast("string")
    digits = F.regexp_replace(F.regexp_extract(text, "^[^E]*", 0), "[-.]", "")
    sign = F.when(text.startswith("-"), F.lit("-")).otherwise(F.lit(""))
    plain = F.concat(sign, F.lit("0."), F.lpad(digits, scale, "0"))
    return F.when(text.contains("E"), plain).otherwise(text), None


def _instant_text(source: Column, feature: PlannedFeature) -> tuple[Column, Column | None]:
    """The instant in UTC, whatever the session's time zone: the epoch without a zone, plus the elapsed time."""
    micros = F.unix_micros(source)
    of_day = micros % F.lit(_DAY_MICROS)  # of the sign of micros: taking it off cannot overflow
    days = ((micros - of_day) / F.lit(_DAY_MICROS)).cast("int")
    seconds = (of_day.cast("decimal(20,0)") / F.lit(Decimal(1_000_000))).cast("decimal(18,6)")
    elapsed = F.make_dt_interval(days, F.lit(0), F.lit(0), seconds)
    return (F.to_timestamp_ntz(F.lit(_EPOCH)) + elapsed).cast("string"), None


def _is_infinite(number: Column) -> Column:
    return F.abs(number) == F.lit(math.inf)


def _is_number(source: Column, feature: PlannedFeature, value: int) -> Column:
    """Equality without widening: Spark rounds a DECIMAL(38,38) to compare it with another scale."""
    digits = _decimal_digits(feature)
    if digits is None:
        return source == F.lit(value)
    precision, scale = digits
    if value != 0 and precision == scale:
        return F.lit(False)  # noqa: FBT003
    return source == F.lit(Decimal(value)).cast(f"decimal({precision},{scale})")


def _has_no_fraction(source: Column, scale: int) -> Column:
    return source % F.lit(Decimal(1)) == F.lit(Decimal(0)).cast(f"decimal({scale},{scale})")


def _decimal_digits(feature: PlannedFeature) -> tuple[int, int] | None:
    """Precision and scale of a DECIMAL source, None for any other."""
    match = re.fullmatch(r"decimal\((\d+),(\d+)\)", feature.source_type or "")
    return (int(match[1]), int(match[2])) if match else None


_CONVERSIONS: dict[Conversion, Callable[[Column, PlannedFeature], tuple[Column, Column | None]]] = {
    "same": _same,
    "cast": _plain_cast,
    "narrow": _narrow,
    "whole": _whole,
    "zero_one": _zero_one,
    "nonzero": _nonzero,
    "parse_number": _parse_number,
    "parse_whole": _parse_whole,
    "parse_flag": _parse_flag,
    "decimal_text": _decimal_text,
    "instant_text": _instant_text,
}
