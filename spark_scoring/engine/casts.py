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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.engine.inputs import MISSING_CODE, MISSING_TIME
from spark_scoring.model.types import ANY, INTEGER_RANGES, Category, Coded, OneOf, Tensor
from spark_scoring.plan.outputs import SPARK_TYPES
from spark_scoring.plan.policy import Fill
from spark_scoring.plan.reasons import SEPARATOR, reason_text
from spark_scoring.sql import quote, text
from spark_scoring.times import from_iso, micros_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.model.types import Level, Levels, ModelType
    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.rules import Cell, Conversion

LANE_TYPES = ("double", "float", "long", "integer", "boolean", "datetime", "category")
"""Types that share a lane; all others travel alone. Times are microseconds since the epoch, categories codes."""

_LEVELED = (Category, Coded, OneOf)
_NULL = ("NULL", "CAST(NULL")

_ELEMENTS = {
    **SPARK_TYPES,
    "datetime": "bigint",
    "category": "int",
    "int8": "int",
    "int16": "int",
    "uint8": "int",
    "uint16": "int",
    "uint32": "bigint",
}
"""What a lane's values are in Spark."""
_PLACEHOLDERS = {
    "double": math.nan,
    "float": math.nan,
    "boolean": False,
    "string": None,
    "binary": None,
    "datetime": MISSING_TIME,
    "category": MISSING_CODE,
}
_DIGITS = {"long": 19, "integer": 10, "uint32": 10, "int16": 5, "uint16": 5, "int8": 3, "uint8": 3}

# \z and not $: the latter also matches in front of a last line break, which a cast refuses.
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*\z"
_SPECIAL = r"(?i)^\s*(nan|[+-]?inf|[+-]?infinity)\s*\z"
_TIME = (
    r"^\s*(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)?"
    r"\s*(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?\s*\z"
)
_DAY_MICROS = 86_400_000_000
_NS_MICROS = 9_223_372_036_854_775
"""Nanoseconds in 64 bits reach this many microseconds before and after 1970."""
_MAPPED_LEVELS = 200
"""Up to here a map's linear search is cheaper than a broadcast join (measured on 2M rows: 0.17 s against 0.31 s
for 100 levels, 0.39 against 0.32 for 300, 3.1 against 0.33 for 3,000)."""


@dataclass(frozen=True)
class Lane:
    """One column on its way to the worker: an array of several features, or one feature alone."""

    type: str
    """MLflow type of its features; of a tensor's lane that of its elements; else ``nested``."""
    features: tuple[str, ...]
    packed: bool
    """Whether it is an array of as many values in every row."""
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
    values: dict[str, str]
    """Per feature, its value as SQL; of a row that did not pass, a placeholder."""


@dataclass(frozen=True)
class Extended:
    """A table with the columns that SQL text alone cannot make."""

    frame: DataFrame
    sources: Mapping[str, str] = field(default_factory=dict)
    """Features whose value is in an added column: ML vectors, as arrays."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Features whose level was looked up by a join: the column of codes, null for an unknown level."""


@dataclass(frozen=True)
class _Typed:
    """A Spark type, a model's type and the conversion between: of a feature, or of a member of one."""

    type: ModelType
    source_type: str | None
    conversion: Conversion
    members: tuple[Cell, ...] = ()
    code: str | None = None
    """SQL of the level's code, where a join has looked it up."""


@dataclass(frozen=True)
class _Cast:
    """One feature's value and the conditions of its row, as SQL; a condition is never null."""

    feature: PlannedFeature
    value: str
    missing: str | None = None
    invalid: str | None = None


def extend(df: DataFrame, plan: ScoringPlan, prefix: str) -> Extended:
    """The table with ML vectors as arrays, and with the codes of levels too many for a map. Runs no job.

    Args:
        df: the table.
        plan: its plan.
        prefix: of the names of added columns; no column of the table begins so.

    """
    sources, codes = {}, {}
    for i, feature in enumerate(plan.features):
        column = f"{prefix}_source{i}"
        if feature.source_type == "vector":
            from pyspark.ml.functions import vector_to_array

            vector = F.expr(str(feature.source))
            df = df.withColumn(column, F.when(vector.isNotNull(), vector_to_array(vector)))  # it raises on a null
            sources[feature.name] = quote(column)
        elif feature.conversion != "void" and (levels := _joined_levels(feature.type)):
            df = _with_codes(df, feature, levels, column)
            codes[feature.name] = quote(column)
    return Extended(df, sources, codes)


def _joined_levels(type_: ModelType) -> Levels | None:
    """Levels too many for a map."""
    return type_.levels if isinstance(type_, _LEVELED) and len(type_.levels.values) > _MAPPED_LEVELS else None


def _with_codes(df: DataFrame, feature: PlannedFeature, levels: Levels, column: str) -> DataFrame:
    """The table with each row's code in ``column``: every row once, as the levels are distinct."""
    if feature.source is None:
        return df.withColumn(column, F.lit(None).cast("int"))
    own = _ELEMENTS[str(feature.members[0].type)]
    value, fits = _converted(feature.source, _of_cell(feature.members[0]))
    key = f"CASE WHEN {feature.source} IS NOT NULL AND {fits or 'true'} THEN {value} END"
    rows = [(level, code) for code, level in enumerate(levels.values)]
    known = df.sparkSession.createDataFrame(rows, f"{quote(f'{column}_level')} {own}, {quote(column)} int")
    keyed = df.withColumn(f"{column}_key", F.expr(key))
    condition = F.col(f"{column}_key") == F.col(f"{column}_level")
    return keyed.join(F.broadcast(known), condition, "left").drop(f"{column}_key", f"{column}_level")


def prepare(plan: ScoringPlan, extended: Extended | None = None, *, packed: bool = True) -> Prepared:
    """The plan as columns over the table it was made for, extended where the plan needs it. Runs no job.

    Args:
        plan: the scoring plan.
        extended: the table, where the plan adds columns to it first.
        packed: False leaves the lanes out.

    """
    casts = [_cast(feature, extended) for feature in plan.features]
    bad = [found for cast in casts for found in _conditions(cast, "bad_row")]
    fatal = [found for cast in casts for found in _conditions(cast, "fail")]
    return Prepared(
        lanes=_lanes(casts) if packed else (),
        ok=F.expr(_ok(bad, fatal)),
        error=F.expr(_error_text(bad)),
        touched={cast.feature.name: F.expr(sql) for cast in casts if (sql := _touched(cast))},
        values={cast.feature.name: cast.value for cast in casts},
    )


def plain_columns(features: Sequence[PlannedFeature], extended: Extended) -> dict[str, Column]:
    """Features of MLflow's data types as columns of their own, cast as the plan says; of bad rows, placeholders."""
    columns = {}
    for feature in features:
        value = _cast(feature, extended).value
        if feature.type == "datetime":
            value = f"timestamp_micros(nullif({value}, {MISSING_TIME + 1}L - 1L))"
        columns[feature.name] = F.expr(value)
    return columns


@dataclass(frozen=True)
class Given:
    """What the model is given of a feature, as SQL. The conditions are never null."""

    value: str
    """In the type of its lane (``lane_type``): a NaN, the placeholder of its lane or a null where it is missing."""
    missing: str | None
    """Whether the source's value is missing and none is put in its place; None: the value itself says so."""
    invalid: str | None
    """Whether the source's value does not fit, whatever then takes its place; None: all do."""


def given_values(features: Sequence[PlannedFeature], extended: Extended) -> dict[str, Given]:
    """What the model is given, feature by feature. Runs no job."""
    found = {}
    for feature in features:
        cast, nulls = _cast(feature, extended), feature.handling.nulls
        is_filled = isinstance(nulls, Fill) and nulls.value is not None
        found[feature.name] = Given(cast.value, None if is_filled else cast.missing, cast.invalid)
    return found


def row_error(features: Sequence[PlannedFeature], extended: Extended) -> Column:
    """Names and reasons of a row whose features do not fit, null for one whose features do; raises where told to."""
    casts = [_cast(feature, extended) for feature in features]
    bad, fatal = ([f for cast in casts for f in _conditions(cast, action)] for action in ("bad_row", "fail"))
    raises = " ".join(_raises(fatal))
    return F.expr(f"CASE {raises} ELSE {_error_text(bad)} END" if raises else _error_text(bad))


def time_micros(source: str, type_: str) -> str:
    """A time as microseconds since 1970 in UTC, as SQL: of a date its midnight, of a time without a zone as in UTC."""
    conversion: Mapping[str, Conversion] = {"date": "date_micros", "timestamp_ntz": "wall_clock_micros"}
    value, _ = _converted(source, _Typed("datetime", type_, conversion.get(type_, "instant_micros")))
    return value


def _lanes(casts: Sequence[_Cast]) -> tuple[Lane, ...]:
    lanes = []
    for type_ in LANE_TYPES:
        members = [c for c in casts if lane_type(c.feature.type) == type_]
        if members:
            array = F.expr(f"array({', '.join(c.value for c in members)})")
            lanes.append(Lane(type_, tuple(c.feature.name for c in members), packed=True, column=array))
    for cast in casts:
        type_ = lane_type(cast.feature.type)
        if type_ not in LANE_TYPES:
            packed = isinstance(cast.feature.type, Tensor)
            own = cast.feature.type.dtype if isinstance(cast.feature.type, Tensor) else type_
            lanes.append(Lane(own, (cast.feature.name,), packed, F.expr(cast.value)))
    return tuple(lanes)


def lane_type(type_: ModelType) -> str:
    """The type of a feature's lane: of ``LANE_TYPES``, else another data type, ``tensor`` or ``nested``."""
    match type_:
        case Category():
            return "category"
        case Coded() | OneOf():
            return type_.type
        case str() if type_ != ANY:
            return type_
        case Tensor():
            return "tensor"
        case _:
            return "nested"


def _cast(feature: PlannedFeature, extended: Extended | None) -> _Cast:
    handling = feature.handling
    if feature.source is None:
        return _Cast(feature, _filled(handling.absent, feature.type))
    source, code = feature.source, None
    if extended is not None:
        source, code = extended.sources.get(feature.name, source), extended.codes.get(feature.name)
    typed = _Typed(feature.type, feature.source_type, feature.conversion, feature.members, code)
    converted, fits = _converted(source, typed)
    if fits is None and handling.nulls == "keep" and feature.conversion != "members":  # a struct of nulls is not a null
        null = _filled(None, feature.type)
        return _Cast(feature, converted if null.startswith(_NULL) else f"coalesce({converted}, {null})")
    missing = _is_missing(source, feature)
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
        yield reason_text(cast.feature.name, "null"), cast.missing
    if cast.invalid is not None and cast.feature.handling.invalid == action:
        yield reason_text(cast.feature.name, str(cast.feature.reason)), cast.invalid


def _ok(bad: Sequence[tuple[str, str]], fatal: Sequence[tuple[str, str]]) -> str:
    passed = f"NOT ({' OR '.join(condition for _, condition in bad)})" if bad else "true"
    raises = " ".join(_raises(fatal))
    return f"CASE {raises} ELSE {passed} END" if raises else passed


def _raises(fatal: Sequence[tuple[str, str]]) -> list[str]:
    message = "spark_scoring: {}, and the feature's policy is to fail"
    return [f"WHEN {condition} THEN raise_error({text(message.format(cause))})" for cause, condition in fatal]


def _error_text(bad: Sequence[tuple[str, str]]) -> str:
    if not bad:
        return "CAST(NULL AS STRING)"
    causes = ", ".join(f"CASE WHEN {condition} THEN {text(cause)} END" for cause, condition in bad)
    return f"nullif(concat_ws('{SEPARATOR}', {causes}), '')"


def _touched(cast: _Cast) -> str:
    handling = cast.feature.handling
    filled = ((handling.nulls, cast.missing), (handling.invalid, cast.invalid))
    return " OR ".join(condition for action, condition in filled if isinstance(action, Fill) and condition)


def _filled(action: Fill | str | None, type_: ModelType) -> str:
    """The value that an action puts in place; what a bad row gets is never seen."""
    value = action.value if isinstance(action, Fill) else None
    match type_:
        case Category():
            return constant(_code_of(value, type_.levels), "category")
        case Coded():
            return constant(_code_of(value, type_.levels), type_.type)
        case Tensor():
            return f"array_repeat({constant(_PLACEHOLDERS.get(type_.dtype, 0), type_.dtype)}, {type_.width})"
        case OneOf():
            return _filled(action, type_.type)
        case str() if type_ != ANY:
            if type_ == "datetime" and value is not None:
                value = micros_of(from_iso(str(value)))
            return constant(_PLACEHOLDERS.get(type_, 0) if value is None else value, type_)
        case _:
            return "NULL"


def _code_of(value: Level | None, levels: Levels) -> int:
    return MISSING_CODE if value is None else levels.values.index(value)


def constant(value: float | str | None, type_: str) -> str:
    """A value of a lane's type, as SQL."""
    spark_type = _ELEMENTS[type_]
    if value is None:
        return f"CAST(NULL AS {spark_type})"
    return text(value) if isinstance(value, str) else f"CAST('{str(value).lower()}' AS {spark_type})"


def _converted(source: str, typed: _Typed) -> tuple[str, str | None]:
    return _CONVERSIONS[typed.conversion](source, typed)


def _of_cell(cell: Cell) -> _Typed:
    return _Typed(cell.type, cell.source_type, cell.rule.conversion, cell.rule.members)


# One function per conversion: (source, typed) -> (value, whether the source's value fits; None where all do).
# The value is only evaluated where the source is not missing and fits.


def _same(source: str, typed: _Typed) -> tuple[str, str | None]:
    return source, None


def _plain_cast(source: str, typed: _Typed) -> tuple[str, str | None]:
    return f"CAST({source} AS {_ELEMENTS[_scalar(typed)]})", None


def _narrow(source: str, typed: _Typed) -> tuple[str, str | None]:
    """Double to float: only a finite value that becomes infinite does not fit."""
    value = f"CAST({source} AS float)"
    return value, f"(NOT {_is_infinite(value)} OR {_is_infinite(source)})"


def _whole(source: str, typed: _Typed) -> tuple[str, str | None]:
    low, high = INTEGER_RANGES[_scalar(typed)]
    value = f"CAST({source} AS {_ELEMENTS[_scalar(typed)]})"
    if digits := _decimal_digits(typed):
        precision, scale = digits
        checks = [_has_no_fraction(source, scale)] if scale else []
        if low == 0 or precision - scale >= _DIGITS[_scalar(typed)]:
            checks.append(f"{source} >= {low}BD AND {source} < {high}BD")
        return value, f"({' AND '.join(checks or ['true'])})"
    if typed.source_type in ("float", "double"):
        number = f"CAST({source} AS double)"
        in_range = f"{number} >= {float(low)}D AND {number} < {float(high)}D"
        return value, f"({number} % 1D = 0D AND {in_range})"
    return value, f"({source} >= {low}L AND {source} < {high}L)"


def _zero_one(source: str, typed: _Typed) -> tuple[str, str | None]:
    zero, one = _is_number(source, typed, 0), _is_number(source, typed, 1)
    return one, f"({zero} OR {one})"


def _nonzero(source: str, typed: _Typed) -> tuple[str, str | None]:
    return f"NOT {_is_number(source, typed, 0)}", None


def _parse_number(source: str, typed: _Typed) -> tuple[str, str | None]:
    value = f"CAST({source} AS {_ELEMENTS[_scalar(typed)]})"
    finite = f"CASE WHEN {source} RLIKE r'{_NUMBER}' THEN NOT {_is_infinite(value)} ELSE false END"
    return value, f"({source} RLIKE r'{_SPECIAL}' OR {finite})"


def _parse_whole(source: str, typed: _Typed) -> tuple[str, str | None]:
    """Text of digits, with a fraction of zeros at most."""
    low, high = INTEGER_RANGES[_scalar(typed)]
    pattern = rf"^\s*([+-]?)0*(\d{{1,{_DIGITS[_scalar(typed)]}}})(?:\.0*)?\s*\z"
    digits = f"concat(regexp_extract({source}, r'{pattern}', 1), regexp_extract({source}, r'{pattern}', 2))"
    number = f"CAST({digits} AS decimal(20,0))"
    in_range = f"{number} >= {low}BD AND {number} < {high}BD"
    fits = f"CASE WHEN {source} RLIKE r'{pattern}' THEN {in_range} ELSE false END"
    return f"CAST({number} AS {_ELEMENTS[_scalar(typed)]})", f"({fits})"


def _parse_flag(source: str, typed: _Typed) -> tuple[str, str | None]:
    true = rf"({source} RLIKE r'(?i)^\s*true\s*\z')"
    return true, rf"({true} OR {source} RLIKE r'(?i)^\s*false\s*\z')"


def _decimal_text(source: str, typed: _Typed) -> tuple[str, str | None]:
    """Plain digits. Spark writes small values as 1E-18 unless ANSI is on; the digits before the E are all there."""
    _, scale = _decimal_digits(typed) or (0, 0)
    plain = f"CAST({source} AS string)"
    digits = f"regexp_replace(regexp_extract({plain}, '^[^E]*', 0), '[-.]', '')"
    sign = f"CASE WHEN startswith({plain}, '-') THEN '-' ELSE '' END"
    small = f"concat({sign}, '0.', lpad({digits}, {scale}, '0'))"
    return f"CASE WHEN contains({plain}, 'E') THEN {small} ELSE {plain} END", None


def _instant_text(source: str, typed: _Typed) -> tuple[str, str | None]:
    """The instant in UTC, whatever the session's time zone: the epoch without a zone, plus the elapsed time."""
    return f"CAST({_wall_clock(f'unix_micros({source})')} AS string)", None


def _date_micros(source: str, typed: _Typed) -> tuple[str, str | None]:
    days = f"unix_date({source})"
    last = _NS_MICROS // _DAY_MICROS
    return f"({days} * {_DAY_MICROS}L)", f"({days} BETWEEN {-last} AND {last})"


def _instant_micros(source: str, typed: _Typed) -> tuple[str, str | None]:
    micros = f"unix_micros({source})"
    return micros, f"({micros} BETWEEN {-_NS_MICROS}L AND {_NS_MICROS}L)"


def _wall_clock_micros(source: str, typed: _Typed) -> tuple[str, str | None]:
    """A time without a zone, counted as if in UTC; none of the functions used asks for the session's zone."""
    days = f"unix_date(CAST({source} AS date))"
    of_day = f"hour({source}) * 3600000000L + minute({source}) * 60000000L"
    seconds = f"CAST(extract(SECOND FROM {source}) * 1000000BD AS bigint)"
    micros = f"({days} * {_DAY_MICROS}L + {of_day} + {seconds})"
    last = _NS_MICROS // _DAY_MICROS + 1
    in_range = f"{micros} BETWEEN {-_NS_MICROS}L AND {_NS_MICROS}L"
    return micros, f"(CASE WHEN {days} BETWEEN {-last} AND {last} THEN {in_range} ELSE false END)"


def _parse_instant(source: str, typed: _Typed) -> tuple[str, str | None]:
    day, hour, second, offset = (f"regexp_extract({source}, r'{_TIME}', {i})" for i in (1, 2, 3, 4))
    clock = f"concat({day}, ' ', coalesce(nullif({hour}, ''), '00:00'), coalesce(nullif({second}, ''), ':00'))"
    wall, _ = _wall_clock_micros(f"try_cast({clock} AS timestamp_ntz)", typed)  # null where there is no such day
    minutes = f"(CAST(substring({offset}, 2, 2) AS int) * 60 + CAST(right({offset}, 2) AS int))"
    signed = f"CASE WHEN {offset} IN ('', 'Z') THEN 0 WHEN startswith({offset}, '-') THEN -{minutes} ELSE {minutes} END"
    micros = f"({wall} - ({signed}) * 60000000L)"
    in_range = f"coalesce({micros} BETWEEN {-_NS_MICROS}L AND {_NS_MICROS}L, false)"
    return micros, f"(CASE WHEN {source} RLIKE r'{_TIME}' THEN {in_range} ELSE false END)"


def _void(source: str, typed: _Typed) -> tuple[str, str | None]:
    return _filled(None, typed.type), None


def _level(source: str, typed: _Typed) -> tuple[str, str | None]:
    """The level's position; a lookup in a map, or what the join has found."""
    assert isinstance(typed.type, _LEVELED)  # noqa: S101  the rule of no other type
    code, fits = _looked_up(source, typed, typed.type.levels)
    return f"CAST({code} AS {_ELEMENTS[lane_type(typed.type)]})", fits


def _listed(source: str, typed: _Typed) -> tuple[str, str | None]:
    """The value itself, where it is one of the levels."""
    assert isinstance(typed.type, OneOf)  # noqa: S101  the rule of no other type
    _, fits = _looked_up(source, typed, typed.type.levels)
    value, _ = _converted(source, _of_cell(typed.members[0]))
    return f"CAST({value} AS {_ELEMENTS[typed.type.type]})", fits


def _looked_up(source: str, typed: _Typed, levels: Levels) -> tuple[str, str]:
    if typed.code is not None:
        return typed.code, f"({typed.code} IS NOT NULL)"
    cell = typed.members[0]
    value, fits = _converted(source, _of_cell(cell))
    entries = (f"{constant(level, str(cell.type))}, {code}" for code, level in enumerate(levels.values))
    code = f"try_element_at(map({', '.join(entries)}), {value})"
    known = f"{code} IS NOT NULL"
    return code, f"({known})" if fits is None else f"(CASE WHEN {fits} THEN {known} ELSE false END)"


def _elements(source: str, typed: _Typed) -> tuple[str, str | None]:
    return _each(source, typed.members[0])


def _each(source: str, cell: Cell) -> tuple[str, str | None]:
    """Every element of an array."""
    value, fits = _inside("x", cell)
    whole = f"transform({source}, x -> {value})"
    if cell.rule.conversion in ("same", "cast") and cell.type in SPARK_TYPES and cell.type != "datetime":
        whole = f"CAST({source} AS array<{_ELEMENTS[str(cell.type)]}>)"  # generated code, where lambdas have none
    return whole, None if fits is None else f"forall({source}, x -> {fits})"


def _entries(source: str, typed: _Typed) -> tuple[str, str | None]:
    value, fits = _inside("x", typed.members[0])
    checked = None if fits is None else f"forall(map_values({source}), x -> {fits})"
    return f"transform_values({source}, (k, x) -> {value})", checked


def _members(source: str, typed: _Typed) -> tuple[str, str | None]:
    found = [(cell, *_inside(f"{source}.{quote(cell.source)}", cell)) for cell in typed.members]
    fits = [f for _, _, f in found if f is not None]
    struct = f"struct({', '.join(f'{value} AS {quote(cell.name)}' for cell, value, _ in found)})"
    return struct, f"({' AND '.join(fits)})" if fits else None


def _tensor(source: str, typed: _Typed) -> tuple[str, str | None]:
    """An array of the tensor's width: from an array, nested ones laid flat, or from a column per value."""
    assert isinstance(typed.type, Tensor)  # noqa: S101  the rule of no other type
    cell, *others = typed.members
    if cell.source.startswith("[]"):
        depth = cell.source.count("[]")
        flat = source
        for _ in range(depth - 1):
            flat = f"flatten({flat})"
        value, fits = _each(flat, cell)
        shaped = _has_shape(source, typed.type.shape[1:] if depth > 1 else (typed.type.width,))
        return value, f"({shaped} AND {fits})" if fits else f"({shaped})"
    of_struct = bool(cell.source)
    found = [_inside(f"{source}.{quote(c.source)}" if of_struct else source, c) for c in (cell, *others)]
    checks = [f for _, f in found if f is not None]
    return f"array({', '.join(value for value, _ in found)})", f"({' AND '.join(checks)})" if checks else None


def _has_shape(source: str, shape: Sequence[int]) -> str:
    """Whether arrays have these sizes at every level; a null array has none."""
    size, *inner = shape
    own = f"coalesce(size({source}) = {size}, false)"
    return f"{own} AND forall({source}, x -> {_has_shape('x', inner)})" if inner else own


def _inside(source: str, cell: Cell) -> tuple[str, str | None]:
    """A value inside another: NaN for a null where numbers have one, else a null if it may be one."""
    plain = f"collate({source}, 'UTF8_BINARY')" if cell.source_type.startswith("string collate") else source
    value, fits = _converted(plain, _of_cell(cell))
    if cell.type == "datetime":
        value = _wall_clock(value)
    null = constant(math.nan, str(cell.type)) if cell.type in ("double", "float") else "NULL"
    cases = f"WHEN {source} IS NULL THEN {null}" + (f" WHEN NOT {fits} THEN {null}" if fits else "")
    present = f"{source} IS NULL OR" if cell.nullable else f"{source} IS NOT NULL AND"
    if fits is None:
        return f"CASE {cases} ELSE {value} END", None if cell.nullable else f"({source} IS NOT NULL)"
    return f"CASE {cases} ELSE {value} END", f"({present} {fits})"


def _wall_clock(micros: str) -> str:
    """Microseconds since the epoch as a time without a zone, which no session's zone changes."""
    of_day = f"({micros} % {_DAY_MICROS}L)"  # of the sign of micros: taking it off cannot overflow
    days = f"CAST(({micros} - {of_day}) / {_DAY_MICROS}L AS int)"
    seconds = f"CAST(CAST({of_day} AS decimal(20,0)) / 1000000BD AS decimal(18,6))"
    return f"(TIMESTAMP_NTZ '1970-01-01 00:00:00' + make_dt_interval({days}, 0, 0, {seconds}))"


def _scalar(typed: _Typed) -> str:
    """The data type of a conversion that only data types have."""
    return str(typed.type)


def _is_infinite(number: str) -> str:
    return f"(abs({number}) = double('infinity'))"


def _is_number(source: str, typed: _Typed, value: int) -> str:
    """Equality without widening: Spark rounds a DECIMAL(38,38) to compare it with another scale."""
    digits = _decimal_digits(typed)
    if digits is None:
        return f"({source} = {value})"
    precision, scale = digits
    if value != 0 and precision == scale:
        return "false"
    return f"({source} = CAST({value} AS decimal({precision},{scale})))"


def _has_no_fraction(source: str, scale: int) -> str:
    return f"{source} % 1BD = CAST(0 AS decimal({scale},{scale}))"


def _decimal_digits(typed: _Typed) -> tuple[int, int] | None:
    """Precision and scale of a DECIMAL source, None for any other."""
    match = re.fullmatch(r"decimal\((\d+),(\d+)\)", typed.source_type or "")
    return (int(match[1]), int(match[2])) if match else None


_CONVERSIONS: dict[Conversion, Callable[[str, _Typed], tuple[str, str | None]]] = {
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
    "date_micros": _date_micros,
    "instant_micros": _instant_micros,
    "wall_clock_micros": _wall_clock_micros,
    "parse_instant": _parse_instant,
    "void": _void,
    "level": _level,
    "listed": _listed,
    "elements": _elements,
    "entries": _entries,
    "members": _members,
    "tensor": _tensor,
}
