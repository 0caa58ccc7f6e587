"""The casts of a plan on pandas data, value for value what ``engine.casts`` does in Spark.

For notebooks and for tests of training code: it needs no session and takes some microseconds per value. The text
of a FLOAT or DOUBLE has Java's form with the fewest digits that tell it from its neighbours, as from JDK 19 on;
older ones, Spark's usual 17 among them, write a digit more for a few values, which read back as the same number.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import NullType, Row, StructField, StructType

from spark_scoring.engine.casts import LANE_TYPES
from spark_scoring.engine.errors import PolicyError
from spark_scoring.engine.inputs import MISSING_CODE, MISSING_TIME, NUMPY_TYPES, WorkerPlan, build_input, objects
from spark_scoring.errors import Gathering, PlanError, Problem
from spark_scoring.job import checked_levels, checked_policy
from spark_scoring.model.spec import ModelSpec, signature_inputs
from spark_scoring.model.types import ANY, INTEGER_RANGES, Category, Coded, OneOf, Tensor
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.plan.planner import Request, make_plan
from spark_scoring.plan.policy import Fill
from spark_scoring.plan.reasons import SEPARATOR, reason_text
from spark_scoring.plan.rules import kind_of
from spark_scoring.sql import quote
from spark_scoring.times import from_iso, micros_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlflow.models import ModelSignature
    from numpy.typing import NDArray
    from pyspark.sql.types import DataType

    from spark_scoring.model.types import Level, ModelType
    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.policy import PolicyLike
    from spark_scoring.plan.rules import Cell, Conversion

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_NS_MICROS = 9_223_372_036_854_775
"""Nanoseconds in 64 bits reach this many microseconds before and after 1970."""
_MISSING = {"double": math.nan, "float": math.nan, "datetime": MISSING_TIME}
"""What stands for a null in a lane; None in all others."""
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20),
    pa.float16(): pa.float32(),
}
"""Arrow's numbers that Spark has no type for -> the smallest that holds them."""
_WHOLE_KINDS = {"byte": "int8", "short": "int16", "integer": "integer", "long": "long"}

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_SPECIAL = re.compile(r"\s*(nan|[+-]?inf|[+-]?infinity)\s*", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\s*([+-]?)0*(\d{1,19})(?:\.0*)?\s*", re.ASCII)
_FLAG = re.compile(r"\s*(?:(true)|false)\s*", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?"
    r"\s*(?:Z|([+-])(0\d|1[0-4]):?([0-5]\d))?\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class PreparedFeatures:
    """A frame cut in two: rows that the model can take, and why it cannot take the others."""

    frame: pd.DataFrame
    """The good rows with their index; columns, order and dtypes are the model's own. A tensor feature of more than
    one value holds an array of its inner shape per row."""
    errors: pd.Series[str]
    """The bad rows with their index: the text of Spark's ``scoring_error``, such as ``seats: null``."""


@dataclass(frozen=True)
class _Typed:
    """A conversion between a Spark type and a model's: of a feature, or of a member of one."""

    type: ModelType
    source_type: str
    conversion: Conversion
    members: tuple[_Typed, ...] = ()
    name: str = ""
    source: str = ""
    nullable: bool = True
    codes: Mapping[Level, int] = field(default_factory=dict)
    """Positions of the levels, where there are any."""


@dataclass(frozen=True)
class _Lane:
    """One feature's values, a row each, and what is wrong with the row: the policy's action and the cause."""

    feature: PlannedFeature
    values: list[Any]
    faults: list[tuple[str, str] | None]


def prepare_features(
    frame: pd.DataFrame,
    signature: ModelSignature,
    policy: PolicyLike = "strict",
    *,
    schema: StructType | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
) -> PreparedFeatures:
    """What a model with this signature is given for a frame: the same as ``score_batch`` gives it for the table.

    Args:
        frame: the data; columns bind by name as in Spark, others are ignored.
        signature: MLflow's, such as ``infer_signature(X, model.predict(X))``.
        policy: ``strict``, ``lenient``, or a policy per feature (``"*"``: all others).
        schema: the table's schema. Without it each column's Spark type comes from its dtype (times without a zone
            are TIMESTAMP_NTZ), that of an object column from its values: only with a schema does the result of one
            row never depend on the others. A NaN is a null, but for one in a column of objects.
        categories: levels in the order of training. Text must be one of them, a number becomes their code; only a
            model itself can say that it takes a pandas Categorical (``prepare_frame`` with its plan).

    Raises:
        JobError: a choice of the policy is not one.
        PlanError: with everything that keeps the frame from being prepared.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    spec = _spec_of(signature)
    known = frame_schema(frame, schema, {feature.name.lower() for feature in spec.inputs})
    request = Request(
        policy=checked_policy(policy), categories=checked_levels(categories or {}, "the call"), methods=()
    )
    return prepare_frame(frame, make_plan(spec, known, request), known)


def prepare_frame(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> PreparedFeatures:
    """What the plan's model is given for a frame.

    Args:
        frame: the data.
        plan: a plan whose features come from columns, not from SQL expressions.
        schema: the schema that the plan was made for.

    Raises:
        PlanError: the frame lacks a column, or its values are not of the schema's types.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    given = frame_columns(frame, plan, schema)
    made = build_input(given.plan, given.columns)
    own = {name: values if values.ndim == 1 else objects(list(values)) for name, values in made.items()}
    return PreparedFeatures(pd.DataFrame(own, frame.index[given.rows]), given.errors)


@dataclass(frozen=True)
class FrameColumns:
    """A frame as a worker is given it: a lane for each feature."""

    plan: WorkerPlan
    """Whose input is a dict of the features' values."""
    columns: list[NDArray[Any]]
    rows: NDArray[np.int_]
    """Positions in the frame of the rows that the model can take."""
    errors: pd.Series[str]
    """Why it cannot take the others."""


def frame_columns(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> FrameColumns:
    """What a worker is given for a frame; see ``prepare_frame``.

    Raises:
        PlanError: the frame lacks a column, or its values are not of the schema's types.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    sources = _sources(frame, plan, schema)
    lanes = [_lane(feature, values) for feature, values in zip(plan.features, sources, strict=True)]
    fatal = dict.fromkeys((name, cause) for _, name, action, cause in _faults(lanes) if action == "fail")
    if fatal:
        raise PolicyError.fails(fatal)
    texts: dict[int, list[str]] = {}
    for row, name, _, cause in _faults(lanes):
        texts.setdefault(row, []).append(reason_text(name, cause))
    bad = np.array(sorted(texts), dtype=int)
    good = np.setdiff1d(np.arange(len(frame)), bad)
    errors = pd.Series([SEPARATOR.join(texts[row]) for row in bad], frame.index[bad], dtype=object, name=ERROR_COLUMN)
    columns = [model_column(lane.feature.type, [lane.values[row] for row in good]) for lane in lanes]
    return FrameColumns(single_lanes(plan.features), columns, good, errors)


def single_lanes(features: Sequence[PlannedFeature]) -> WorkerPlan:
    """A worker's plan with a lane for each feature."""
    return WorkerPlan(
        features=tuple((f.name, f.type) for f in features),
        lanes=tuple((_lane_type(f.type), (f.name,), _width(f.type) > 0) for f in features),
        returns=(),
        takes="tensors",
        missing=tuple((f.name, f.missing) for f in features if f.missing != "None"),
    )


def _spec_of(signature: ModelSignature) -> ModelSpec:
    """A model of which only its inputs are known."""
    if signature.inputs is None:
        fix = "infer it from the frame of training: infer_signature(X, model.predict(X))"
        raise PlanError([Problem("signature", "it has no inputs", fix)])
    _, inputs = signature_inputs(signature)
    return ModelSpec("signature", None, None, None, "", "", "python_function", inputs, "double")


# A frame's values as Spark holds them.


def frame_schema(frame: pd.DataFrame, schema: StructType | None, read: set[str]) -> StructType:
    """The frame's columns with their types, which are inferred only where a feature may read them.

    Raises:
        PlanError: a column's values are not of one Spark type.

    """
    given = None if schema is None else {column.name: column.dataType for column in schema.fields}
    fields, problems = [], []
    for i, name in enumerate(frame.columns):
        type_: DataType | None = NullType()
        if given is not None:
            type_ = given.get(name)
        elif str(name).lower() in read:
            type_ = inferred_type(frame.iloc[:, i])
            if type_ is None:
                fix = "give the table's schema: schema=StructType([...])"
                problems.append(Problem(f"column {name!r}", "its values are not of one Spark type", fix))
        if type_ is not None:
            fields.append(StructField(str(name), type_))
    if problems:
        raise PlanError(problems)
    return StructType(fields)


def inferred_type(series: pd.Series[Any]) -> DataType | None:
    """The Spark type of a column's dtype, of a column of objects that of its values; None where there is none."""
    values = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else series
    try:
        found = pa.array(values, from_pandas=True).type
        return from_arrow_type(_WIDER.get(found, found), prefer_timestamp_ntz=True)
    except (pa.ArrowException, PySparkTypeError, TypeError, ValueError, ArithmeticError):
        return None


def _sources(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> list[list[Any]]:
    """The values that each feature is made from; nulls where a default takes its place."""
    columns = {quote(column.name): column for column in schema.fields if column.name in frame.columns}
    found, problems = [], Gathering()
    for feature in plan.features:
        if feature.source is None:
            found.append([None] * len(frame))
            continue
        column = columns.get(feature.source.removeprefix("collate(").removesuffix(", 'UTF8_BINARY')"))
        if column is None:
            cause = f"it is made of {feature.source}, which the frame does not have"
            fix = "make it a column of the feature's name"
            problems.problems.append(Problem(f"feature {feature.name!r}", cause, fix))
            continue
        with problems.attempt():
            found.append(read_column(frame, column))
    problems.raise_all(PlanError)
    return found


def read_column(frame: pd.DataFrame, column: StructField) -> list[Any]:
    """A column's values as Python's own. A NaN is a null as pandas has it, but for one among objects.

    Raises:
        PlanError: a value is not of the column's type.

    """
    series, type_ = frame[column.name], column.dataType
    values = series.astype(object).tolist()
    if series.dtype != object:
        values = [None if missing else value for value, missing in zip(values, series.isna(), strict=True)]
    try:
        return [_read(value, type_) for value in values]
    except (TypeError, ValueError, ArithmeticError):
        cause = f"it holds values that are not {type_.simpleString().upper()}"
        fix = "give the schema of the frame's table; times of a TIMESTAMP have a zone: x.dt.tz_localize('UTC')"
        raise PlanError([Problem(f"column {column.name!r}", cause, fix)]) from None  # its text may hold a value


def _read(value: Any, type_: DataType) -> Any:
    """Python's own value, None for a null.

    Raises:
        ValueError: or another error of Python's, where the value is not of the type.

    """
    kind = kind_of(type_)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float | Decimal) and math.isnan(value) and kind not in ("float", "double"):
        return None
    classes, read = _READERS.get(kind, ((), None))
    if read is None or not isinstance(value, classes) or (isinstance(value, bool) and kind != "boolean"):
        raise TypeError(kind)
    return read(value, type_)


def _as_it_is(value: Any, _: DataType) -> Any:
    return value


def _read_whole(value: float, type_: DataType) -> int:
    """Also of a whole float: what pandas makes of integers with nulls."""
    low, high = INTEGER_RANGES[_WHOLE_KINDS[kind_of(type_)]]
    whole = int(value)
    if whole != value or not low <= whole < high:
        raise ValueError(type_)
    return whole


def _read_decimal(value: int | Decimal, type_: Any) -> Decimal:
    """Refuses a digit that the type does not have."""
    context = decimal.Context(prec=type_.precision, traps=[decimal.Inexact, decimal.InvalidOperation])
    number = Decimal(value).quantize(Decimal((0, (1,), -type_.scale)), context=context)
    return number or number.copy_abs()  # Spark has no -0.00


def _read_date(value: dt.date, type_: DataType) -> dt.date:
    if not isinstance(value, dt.datetime):
        return value
    if value.tzinfo is not None or value.time() != dt.time():
        raise ValueError(type_)
    return value.date()


def _read_time(value: dt.datetime, type_: DataType) -> dt.datetime:
    """Microseconds, as Spark has them; an instant in UTC."""
    moment = value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    if (moment.tzinfo is None) != (kind_of(type_) == "timestamp_ntz"):
        raise ValueError(type_)
    return moment if moment.tzinfo is None else moment.astimezone(dt.timezone.utc)


def _read_array(value: Iterable[Any], type_: Any) -> list[Any]:
    return [_read(v, type_.elementType) for v in value]


def _read_map(value: Any, type_: Any) -> list[tuple[Any, Any]]:
    """Pairs, as Arrow has them."""
    pairs = value.items() if isinstance(value, dict) else value
    return [(_read(k, type_.keyType), _read(v, type_.valueType)) for k, v in pairs]


def _read_struct(value: Any, type_: Any) -> dict[str, Any]:
    members = value.asDict() if isinstance(value, Row) else value
    return {member.name: _read(members.get(member.name), member.dataType) for member in type_.fields}


def _read_vector(value: Any, _: DataType) -> list[float]:
    return [float(v) for v in value.toArray()]


_READERS: dict[str, tuple[tuple[type, ...], Callable[[Any, DataType], Any]]] = {
    "boolean": ((bool,), _as_it_is),
    **dict.fromkeys(_WHOLE_KINDS, ((int, float), _read_whole)),
    "float": ((int, float), lambda value, _: _single(value)),
    "double": ((int, float), lambda value, _: float(value)),
    "decimal": ((int, Decimal), _read_decimal),
    "string": ((str,), _as_it_is),
    "binary": ((bytes, bytearray), lambda value, _: bytes(value)),
    "date": ((dt.date,), _read_date),
    "timestamp": ((dt.datetime,), _read_time),
    "timestamp_ntz": ((dt.datetime,), _read_time),
    "array": ((list, tuple, np.ndarray), _read_array),
    "map": ((dict, list, tuple), _read_map),
    "struct": ((dict, Row), _read_struct),
    "vector": ((object,), _read_vector),
}
"""Kind of Spark type -> Python's classes that it is read from, and how."""


# A feature's values by its plan.


def _lane(feature: PlannedFeature, values: Sequence[Any]) -> _Lane:
    if feature.source is None:
        default = _filled(feature.handling.absent, feature.type)
        return _Lane(feature, [default] * len(values), [None] * len(values))
    members = tuple(map(_of_cell, feature.members))
    codes = _codes(feature.type)
    typed = _Typed(feature.type, str(feature.source_type), feature.conversion, members, codes=codes)
    settled = [_settled(value, feature, typed) for value in values]
    return _Lane(feature, [value for value, _ in settled], [fault for _, fault in settled])


def _of_cell(cell: Cell) -> _Typed:
    members = tuple(map(_of_cell, cell.rule.members))
    return _Typed(cell.type, cell.source_type, cell.rule.conversion, members, cell.name, cell.source, cell.nullable)


def _codes(type_: ModelType) -> dict[Level, int]:
    levels = type_.levels.values if isinstance(type_, Category | Coded | OneOf) else ()
    return {level: code for code, level in enumerate(levels)}


def _settled(value: Any, feature: PlannedFeature, typed: _Typed) -> tuple[Any, tuple[str, str] | None]:
    """The value that the policy gives the model, and the row's fault; one of the two is None, or the value a null."""
    handling = feature.handling
    action: str | Fill
    if _is_missing(value, feature):
        action, cause = handling.nulls, "null"
    else:
        converted, fits = _converted(value, typed)
        if fits:
            return converted, None
        action, cause = handling.invalid, str(feature.reason)
    if action in ("bad_row", "fail"):
        return None, (str(action), cause)
    if action == "keep" and feature.type == ANY:
        return value, None  # a NaN stays one
    return _filled(action, feature.type), None


def _is_missing(value: Any, feature: PlannedFeature) -> bool:
    """Null, and NaN where the source can hold one."""
    has_nan = feature.source_type in ("float", "double") and feature.type != "string"
    return value is None or (has_nan and math.isnan(value))


def _filled(action: Fill | str | None, type_: ModelType) -> Any:
    """The value that an action puts in place."""
    value = action.value if isinstance(action, Fill) else None
    match type_:
        case Category() | Coded():
            return MISSING_CODE if value is None else type_.levels.values.index(value)
        case OneOf():
            return _filled(action, type_.type)
        case Tensor():
            return [_MISSING.get(type_.dtype)] * type_.width
        case str() if value is None:
            return _MISSING.get(type_)
        case "double" | "float":
            return _parsed(str(value), type_)
        case "datetime":
            return micros_of(from_iso(str(value)))
        case _:
            return value


def _faults(lanes: Sequence[_Lane]) -> Iterable[tuple[int, str, str, str]]:
    """Row, feature, action and cause, in the order of the features."""
    for lane in lanes:
        for row, fault in enumerate(lane.faults):
            if fault is not None:
                yield row, lane.feature.name, *fault


def model_column(type_: ModelType, values: Sequence[Any]) -> NDArray[Any]:
    """A lane of one feature: (n, width) values of its dtype, or (n,) objects."""
    width = _width(type_)
    if width == 0:
        return objects(values)
    lane = _lane_type(type_)
    dtype = "int32" if lane == "category" else NUMPY_TYPES.get(lane, lane)
    return np.array(values, dtype=dtype).reshape(len(values), width)


def _lane_type(type_: ModelType) -> str:
    match type_:
        case Category():
            return "category"
        case Coded() | OneOf():
            return type_.type
        case Tensor():
            return type_.dtype
        case _:
            return str(type_)


def _width(type_: ModelType) -> int:
    """Values per row of a packed lane; 0 of a feature that travels alone."""
    if isinstance(type_, Tensor):
        return type_.width
    return 1 if _lane_type(type_) in LANE_TYPES else 0


# One function per conversion: (value, typed) -> (converted value, whether it fits). The value is never missing.


def _converted(value: Any, typed: _Typed) -> tuple[Any, bool]:
    return _CONVERSIONS[typed.conversion](value, typed)


def _same(value: Any, _: _Typed) -> tuple[Any, bool]:
    return value, True


def _plain_cast(value: Any, typed: _Typed) -> tuple[Any, bool]:
    return _cast(value, typed.source_type, str(typed.type)), True


def _cast(value: Any, source_type: str, type_: str) -> Any:
    """The nearest value of a type that has no value too large for it."""
    match type_:
        case "double":
            return float(value)
        case "float":
            return _single(value)
        case "string":
            return _text(value, source_type)
        case "boolean":
            return bool(value)
        case _:
            return int(value)


def _single(number: float | Decimal) -> float:
    """The nearest float, rounded once: a double between two floats leans to the side of the number itself."""
    double = float(number)
    if math.isfinite(double) and number != double and np.float64(double).view("int64") % 2 == 0:
        double = math.nextafter(double, math.inf if number > double else -math.inf)
    with np.errstate(over="ignore"):
        return float(np.float32(double))


def _narrow(value: float, _: _Typed) -> tuple[float, bool]:
    single = _single(value)
    return single, math.isinf(value) or not math.isinf(single)


def _whole(value: float | Decimal, typed: _Typed) -> tuple[int, bool]:
    low, high = INTEGER_RANGES[str(typed.type)]
    whole = int(value) if math.isfinite(value) else high
    return whole, whole == value and low <= whole < high


def _zero_one(value: float | Decimal, _: _Typed) -> tuple[bool, bool]:
    return value == 1, value in (0, 1)


def _nonzero(value: float | Decimal, _: _Typed) -> tuple[bool, bool]:
    return value != 0, True


def _parse_number(value: str, typed: _Typed) -> tuple[float, bool]:
    is_special = _SPECIAL.fullmatch(value) is not None
    if not is_special and not _NUMBER.fullmatch(value):
        return math.nan, False
    number = _parsed(value, str(typed.type))
    return number, is_special or not math.isinf(number)


def _parsed(text: str, type_: str) -> float:
    """Text of a number in the nearest double or float."""
    double = float(text)
    if type_ == "double" or double == 0 or not math.isfinite(double):
        return double
    return _single(Decimal(text))


def _parse_whole(value: str, typed: _Typed) -> tuple[int, bool]:
    low, high = INTEGER_RANGES[str(typed.type)]
    found = _WHOLE.fullmatch(value)
    whole = int(found[1] + found[2]) if found else high
    return whole, low <= whole < high


def _parse_flag(value: str, _: _Typed) -> tuple[bool, bool]:
    found = _FLAG.fullmatch(value)
    return found is not None and found[1] is not None, found is not None


def _decimal_text(value: Decimal, _: _Typed) -> tuple[str, bool]:
    return f"{value:f}", True


def _instant_text(value: dt.datetime, typed: _Typed) -> tuple[str, bool]:
    return _text(value, typed.source_type), True


def _text(value: Any, source_type: str) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return _java_text(np.float32(value) if source_type == "float" else np.float64(value))
        case dt.datetime():
            text = value.replace(tzinfo=None).isoformat(sep=" ")
            return text.rstrip("0") if value.microsecond else text
        case _:
            return str(value)


def _java_text(number: np.floating[Any]) -> str:
    """``Double.toString``: digits up to ten million, else 1.0E7; two digits at least, of which the nearest two."""
    size = abs(number)
    if not np.isfinite(number):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
    if number == 0 or 1e-3 <= size < 1e7:  # noqa: PLR2004
        return np.format_float_positional(number, trim="0")
    text = np.format_float_scientific(number, trim="0", exp_digits=1)
    if re.match(r"-?\d\.0e", text):
        text = np.format_float_scientific(number, precision=1, unique=False, exp_digits=1)
    return text.replace("e+", "E").replace("e", "E")


def _time_micros(value: dt.date, _: _Typed) -> tuple[int, bool]:
    """Of a date, an instant, or a wall clock's time as if in UTC."""
    micros = micros_of(value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time()))
    return micros, abs(micros) <= _NS_MICROS


def _parse_instant(value: str, _: _Typed) -> tuple[int, bool]:
    found = _TIME.fullmatch(value)
    if not found:
        return MISSING_TIME, False
    *calendar, fraction, sign, hours, minutes = found.groups(default="0")
    year, month, day, hour, minute, second = map(int, calendar)
    micro = int(fraction.ljust(6, "0"))
    try:
        wall = micros_of(dt.datetime(year, month, day, hour, minute, second, micro, dt.timezone.utc))
    except ValueError:  # the 30th of February
        return MISSING_TIME, False
    offset = (int(hours) * 60 + int(minutes)) * 60_000_000
    micros = wall + offset if sign == "-" else wall - offset
    return micros, abs(micros) <= _NS_MICROS


def _level(value: Any, typed: _Typed) -> tuple[int, bool]:
    level, fits = _converted(value, typed.members[0])
    code = typed.codes.get(level) if fits else None
    return MISSING_CODE if code is None else code, code is not None


def _listed(value: Any, typed: _Typed) -> tuple[Any, bool]:
    """The level itself."""
    assert isinstance(typed.type, OneOf)  # noqa: S101  the rule of no other type
    member = typed.members[0]
    level, fits = _converted(value, member)
    if not fits or level not in typed.codes:
        return None, False
    return _cast(level, str(member.type), typed.type.type), True


def _elements(value: Sequence[Any], typed: _Typed) -> tuple[list[Any], bool]:
    inside = [_inside(v, typed.members[0]) for v in value]
    return [v for v, _ in inside], all(fits for _, fits in inside)


def _entries(value: Sequence[tuple[str, Any]], typed: _Typed) -> tuple[list[tuple[str, Any]], bool]:
    inside = [(key, *_inside(v, typed.members[0])) for key, v in value]
    return [(key, v) for key, v, _ in inside], all(fits for *_, fits in inside)


def _members(value: Mapping[str, Any], typed: _Typed) -> tuple[dict[str, Any], bool]:
    inside = {member.name: _inside(value[member.source], member) for member in typed.members}
    return {name: v for name, (v, _) in inside.items()}, all(fits for _, fits in inside.values())


def _tensor(value: Any, typed: _Typed) -> tuple[list[Any], bool]:
    """As many values as the tensor is wide: of an array, nested ones laid flat, of a struct, or the value itself."""
    assert isinstance(typed.type, Tensor)  # noqa: S101  the rule of no other type
    depth = typed.members[0].source.count("[]") if typed.members[0].source.startswith("[]") else 0
    if depth == 0:
        inside = [_inside(value[member.source] if member.source else value, member) for member in typed.members]
        return [v for v, _ in inside], all(fits for _, fits in inside)
    if not _has_shape(value, typed.type.shape[1:] if depth > 1 else (typed.type.width,)):
        return [], False
    for _ in range(depth - 1):
        value = [v for inner in value for v in inner]
    return _elements(value, typed)


def _has_shape(value: Sequence[Any] | None, shape: Sequence[int]) -> bool:
    """Whether arrays have these sizes at every level; a null array has none."""
    size, *inner = shape
    return value is not None and len(value) == size and (not inner or all(_has_shape(v, inner) for v in value))


def _inside(value: Any, typed: _Typed) -> tuple[Any, bool]:
    """A value inside another: NaN for a null where numbers have one, a time as a time."""
    null = math.nan if typed.type in ("double", "float") else None
    if value is None:
        return null, typed.nullable
    converted, fits = _converted(value, typed)
    if typed.type == "datetime" and fits:
        converted = _EPOCH.replace(tzinfo=None) + dt.timedelta(microseconds=converted)
    return (converted, True) if fits else (null, False)


_CONVERSIONS: dict[Conversion, Callable[[Any, _Typed], tuple[Any, bool]]] = {
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
    "date_micros": _time_micros,
    "instant_micros": _time_micros,
    "wall_clock_micros": _time_micros,
    "parse_instant": _parse_instant,
    "void": _same,
    "level": _level,
    "listed": _listed,
    "elements": _elements,
    "entries": _entries,
    "members": _members,
    "tensor": _tensor,
}
