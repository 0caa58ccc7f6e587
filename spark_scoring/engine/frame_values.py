"""A pandas frame's values as Spark holds them: their types, and Python's own value of each."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import NullType, Row, StructField, StructType

from spark_scoring.conversions.numbers import single
from spark_scoring.errors import PlanError, Problem
from spark_scoring.plan.scalar_rules import WHOLE_RANGES, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyspark.sql.types import DataType

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20),
    pa.float16(): pa.float32(),
}
"""Arrow's numbers that Spark has no type for -> the smallest that holds them."""


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
    low, high = WHOLE_RANGES[kind_of(type_)]
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
    **dict.fromkeys(WHOLE_RANGES, ((int, float), _read_whole)),
    "float": ((int, float), lambda value, _: single(value)),
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
