"""A scoring plan as Spark columns: feature lanes for the worker, and the checks that keep bad rows from it.

Features of one numeric type travel as one array column (a lane) that holds no null: in float lanes a null is
NaN, in the others a placeholder whose row the check marks. Casts stand behind the check of their own value, so
nothing here depends on ``spark.sql.ansi.enabled``.

Columns are made from SQL text, one expression per lane: a Column call costs a millisecond or more in PySpark,
which thousands of features would feel. The text holds quoted names, the job's own expressions and constants.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.model.spec import INTEGER_RANGES
from spark_scoring.plan.planner import SPARK_TYPES
from spark_scoring.plan.policy import Fill
from spark_scoring.sql import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyspark.sql import Column

    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.rules import Conversion

LANE_TYPES = ("double", "float", "long", "integer", "boolean")
"""MLflow types that share a lane; all others travel alone."""

_PLACEHOLDERS = {"double": math.nan, "float": math.nan, "long": 0, "integer": 0, "boolean": False, "string": None}
_DIGITS = {"long": 19, "integer": 10}

# \z and not $: the latter also matches in front of a last line break, which a cast refuses.
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*\z"
_SPECIAL = r"(?i)^\s*(nan|[+-]?inf|[+-]?infinity)\s*\z"
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
    """One feature's value and the conditions of its row, as SQL; a condition is never null."""

    feature: PlannedFeature
    value: str
    missing: str | None = None
    invalid: str | None = None


def prepare(plan: ScoringPlan) -> Prepared:
    """The plan as columns over the table it was made for. Runs no job."""
    casts = [_cast(feature) for feature in plan.features]
    bad = [found for cast in casts for found in _conditions(cast, "bad_row")]
    fatal = [found for cast in casts for found in _conditions(cast, "fail")]
    return Prepared(
        lanes=_lanes(casts),
        ok=F.expr(_ok(bad, fatal)),
        error=F.expr(_error_text(bad)),
        touched={cast.feature.name: F.expr(sql) for cast in casts if (sql := _touched(cast))},
    )


def _lanes(casts: Sequence[_Cast]) -> tuple[Lane, ...]:
    lanes = []
    for type_ in LANE_TYPES:
        members = [c for c in casts if c.feature.type == type_]
        if members:
            array = F.expr(f"array({', '.join(c.value for c in members)})")
            lanes.append(Lane(type_, tuple(c.feature.name for c in members), packed=True, column=array))
    alone = [c for c in casts if c.feature.type not in LANE_TYPES]
    lanes += [Lane(c.feature.type, (c.feature.name,), packed=False, column=F.expr(c.value)) for c in alone]
    return tuple(lanes)


def _cast(feature: PlannedFeature) -> _Cast:
    handling = feature.handling
    if feature.source is None:
        return _Cast(feature, _filled(handling.absent, feature.type))
    converted, fits = _CONVERSIONS[feature.conversion](feature.source, feature)
    if fits is None and handling.nulls == "keep":
        kept = f"coalesce({converted}, {_filled(None, feature.type)})"
        return _Cast(feature, converted if feature.type == "string" else kept)
    missing = _is_missing(feature.source, feature)
    cases = f"WHEN {missing} THEN {_filled(handling.nulls, feature.type)}"
    invalid = None
    if fits is not None:
        cases += f" WHEN NOT {fits} THEN {_filled(handling.invalid, feature.type)}"
        invalid = f"(NOT {missing} AND NOT {fits})"
    return _Cast(feature, f"CASE {cases} ELSE {converted} END", missing, invalid)


def _is_missing(source: str, feature: PlannedFeature) -> str:
    """Null, and NaN where the source can hold one: a float lane cannot tell them apart."""
    if feature.source_type in ("float", "double") and feature.type != "string":
        return f"({source} IS NULL OR isnan({source}))"
    return f"({source} IS NULL)"


def _conditions(cast: _Cast, action: str) -> Iterable[tuple[str, str]]:
    """What makes a row of this feature bad (or fatal): the text that says so, and the condition."""
    if cast.missing is not None and cast.feature.handling.nulls == action:
        yield f"{cast.feature.name}: null", cast.missing
    if cast.invalid is not None and cast.feature.handling.invalid == action:
        yield f"{cast.feature.name}: {cast.feature.reason}", cast.invalid


def _ok(bad: Sequence[tuple[str, str]], fatal: Sequence[tuple[str, str]]) -> str:
    passed = f"NOT ({' OR '.join(condition for _, condition in bad)})" if bad else "true"
    message = "spark_scoring: {}, and the feature's policy is to fail"
    raises = [f"WHEN {condition} THEN raise_error({text(message.format(cause))})" for cause, condition in fatal]
    return f"CASE {' '.join(raises)} ELSE {passed} END" if raises else passed


def _error_text(bad: Sequence[tuple[str, str]]) -> str:
    if not bad:
        return "CAST(NULL AS STRING)"
    causes = ", ".join(f"CASE WHEN {condition} THEN {text(cause)} END" for cause, condition in bad)
    return f"nullif(concat_ws('; ', {causes}), '')"


def _touched(cast: _Cast) -> str:
    handling = cast.feature.handling
    filled = ((handling.nulls, cast.missing), (handling.invalid, cast.invalid))
    return " OR ".join(condition for action, condition in filled if isinstance(action, Fill) and condition)


def _filled(action: Fill | str | None, type_: str) -> str:
    """The value that an action puts in place; what a bad row gets is never seen."""
    value = action.value if isinstance(action, Fill) else None
    return _constant(_PLACEHOLDERS[type_] if value is None else value, type_)


def _constant(value: float | str | None, type_: str) -> str:
    spark_type = SPARK_TYPES[type_]
    if value is None:
        return f"CAST(NULL AS {spark_type})"
    return text(value) if isinstance(value, str) else f"CAST('{str(value).lower()}' AS {spark_type})"


# One function per conversion: (source, feature) -> (value, whether the source's value fits; None where all do).
# The value is only evaluated where the source is not missing and fits.


def _same(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    return source, None


def _plain_cast(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    return f"CAST({source} AS {SPARK_TYPES[feature.type]})", None


def _narrow(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    """Double to float: only a finite value that becomes infinite does not fit."""
    value = f"CAST({source} AS float)"
    return value, f"(NOT {_is_infinite(value)} OR {_is_infinite(source)})"


def _whole(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    low, high = INTEGER_RANGES[feature.type]
    value = f"CAST({source} AS {SPARK_TYPES[feature.type]})"
    if digits := _decimal_digits(feature):
        precision, scale = digits
        checks = [_has_no_fraction(source, scale)] if scale else []
        if precision - scale >= _DIGITS[feature.type]:
            checks.append(f"{source} >= {low}BD AND {source} < {high}BD")
        return value, f"({' AND '.join(checks)})"
    if feature.source_type in ("float", "double"):
        number = f"CAST({source} AS double)"
        in_range = f"{number} >= {float(low)}D AND {number} < {float(high)}D"
        return value, f"({number} % 1D = 0D AND {in_range})"
    return value, f"({source} >= {low}L AND {source} < {high}L)"


def _zero_one(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    zero, one = _is_number(source, feature, 0), _is_number(source, feature, 1)
    return one, f"({zero} OR {one})"


def _nonzero(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    return f"NOT {_is_number(source, feature, 0)}", None


def _parse_number(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    value = f"CAST({source} AS {SPARK_TYPES[feature.type]})"
    finite = f"CASE WHEN {source} RLIKE r'{_NUMBER}' THEN NOT {_is_infinite(value)} ELSE false END"
    return value, f"({source} RLIKE r'{_SPECIAL}' OR {finite})"


def _parse_whole(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    """Text of digits, with a fraction of zeros at most."""
    low, high = INTEGER_RANGES[feature.type]
    pattern = rf"^\s*([+-]?)0*(\d{{1,{_DIGITS[feature.type]}}})(?:\.0*)?\s*\z"
    digits = f"concat(regexp_extract({source}, r'{pattern}', 1), regexp_extract({source}, r'{pattern}', 2))"
    number = f"CAST({digits} AS decimal(20,0))"
    in_range = f"{number} >= {low}BD AND {number} < {high}BD"
    fits = f"CASE WHEN {source} RLIKE r'{pattern}' THEN {in_range} ELSE false END"
    return f"CAST({number} AS {SPARK_TYPES[feature.type]})", f"({fits})"


def _parse_flag(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    true = rf"({source} RLIKE r'(?i)^\s*true\s*\z')"
    return true, rf"({true} OR {source} RLIKE r'(?i)^\s*false\s*\z')"


def _decimal_text(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    """Plain digits. Spark writes small values as 1E-18 unless ANSI is on; the digits before the E are all there."""
    _, scale = _decimal_digits(feature) or (0, 0)
    plain = f"CAST({source} AS string)"
    digits = f"regexp_replace(regexp_extract({plain}, '^[^E]*', 0), '[-.]', '')"
    sign = f"CASE WHEN startswith({plain}, '-') THEN '-' ELSE '' END"
    small = f"concat({sign}, '0.', lpad({digits}, {scale}, '0'))"
    return f"CASE WHEN contains({plain}, 'E') THEN {small} ELSE {plain} END", None


def _instant_text(source: str, feature: PlannedFeature) -> tuple[str, str | None]:
    """The instant in UTC, whatever the session's time zone: the epoch without a zone, plus the elapsed time."""
    micros = f"unix_micros({source})"
    of_day = f"({micros} % {_DAY_MICROS}L)"  # of the sign of micros: taking it off cannot overflow
    days = f"CAST(({micros} - {of_day}) / {_DAY_MICROS}L AS int)"
    seconds = f"CAST(CAST({of_day} AS decimal(20,0)) / 1000000BD AS decimal(18,6))"
    elapsed = f"make_dt_interval({days}, 0, 0, {seconds})"
    return f"CAST(TIMESTAMP_NTZ '1970-01-01 00:00:00' + {elapsed} AS string)", None


def _is_infinite(number: str) -> str:
    return f"(abs({number}) = double('infinity'))"


def _is_number(source: str, feature: PlannedFeature, value: int) -> str:
    """Equality without widening: Spark rounds a DECIMAL(38,38) to compare it with another scale."""
    digits = _decimal_digits(feature)
    if digits is None:
        return f"({source} = {value})"
    precision, scale = digits
    if value != 0 and precision == scale:
        return "false"
    return f"({source} = CAST({value} AS decimal({precision},{scale})))"


def _has_no_fraction(source: str, scale: int) -> str:
    return f"{source} % 1BD = CAST(0 AS decimal({scale},{scale}))"


def _decimal_digits(feature: PlannedFeature) -> tuple[int, int] | None:
    """Precision and scale of a DECIMAL source, None for any other."""
    match = re.fullmatch(r"decimal\((\d+),(\d+)\)", feature.source_type or "")
    return (int(match[1]), int(match[2])) if match else None


_CONVERSIONS: dict[Conversion, Callable[[str, PlannedFeature], tuple[str, str | None]]] = {
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
