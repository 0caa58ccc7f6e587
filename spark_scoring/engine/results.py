"""From what a model returns to typed fields, refusing what its signature does not say. Imports no pyspark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.engine.inputs import objects
from spark_scoring.model.types import INTEGER_RANGES, NUMPY_TYPES, Array, Map, ModelType, Object, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from spark_scoring.plan.outputs import Returned

ARROW_TYPES = {
    "double": pa.float64(),
    "float": pa.float32(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us", tz="UTC"),
}
"""MLflow type -> Arrow's of a result."""
_OBJECTS = ("string", "binary")
_EXACT = 2**53
"""Up to here a double holds every whole number."""


def empty_fields(returns: Sequence[Returned], n: int) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Fields without a value, each with its mask of nulls."""
    return [_nothing(type_, n) for returned in returns for _, type_ in returned.fields]


def _nothing(type_: ModelType, n: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    dtype = NUMPY_TYPES[type_] if isinstance(type_, str) else "object"
    return np.full(n, None if dtype == "object" else 0, dtype=dtype), np.ones(n, dtype=bool)


def normalise(returned: Returned, result: Any, n: int) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """A model's result for ``n`` rows as typed fields with null masks, in the order of the rows.

    It may be an array of any shape that holds as many values, also 0-d for one row, a sparse or masked one, a Series
    or DataFrame, a dict of columns, a list of values or of dicts, an iterator, a tensor. A Series or DataFrame whose
    index has the rows' numbers in another order is put back in order.

    Raises:
        ModelOutputError: other rows, names, counts or types than the signature says.

    """
    result = _plain(result)
    if returned.by_index:
        result = put_back(result, n)
    if returned.is_nested:
        return [_nested_field(returned, result, n)]
    try:
        columns = _columns_of(returned, result, n)
    except (TypeError, ValueError) as error:  # lists of several lengths, and the like
        raise ModelOutputError.differs(returned.method, _declared(returned), _shown(result, n)) from error
    counts = {column.shape for column in columns}
    if len(columns) == len(returned.fields) and len(counts) == 1 and counts != {(n,)} and len(*counts) == 1:
        raise ModelOutputError.count(returned.method, len(columns[0]), n)
    if len(columns) != len(returned.fields) or counts != {(n,)}:
        raise ModelOutputError.differs(returned.method, _declared(returned), _shown(result, n))
    types = [type_ for _, type_ in returned.fields]
    return [_typed(returned, str(type_), column) for type_, column in zip(types, columns, strict=True)]


def put_back(result: Any, n: int) -> Any:
    """A Series or DataFrame whose index is 0 to n - 1 in another order, in this order; a dict of Series, each one.

    An index with a name is a column that the model made its index; it says nothing of the rows' order.
    """
    if isinstance(result, dict):
        return {name: put_back(values, n) for name, values in result.items()}
    order = index_order(result, n)
    return result if order is None else result.iloc[order]


def index_order(result: Any, n: int) -> NDArray[np.int_] | None:
    """The positions of a result's rows by its index; None where they are in order, or the index does not say."""
    if not isinstance(result, pd.Series | pd.DataFrame) or len(result) != n:
        return None
    index = result.index
    if index.name is not None or index.dtype.kind not in "iu" or (isinstance(index, pd.RangeIndex) and index.step == 1):
        return None
    labels = index.to_numpy()
    order = np.argsort(labels, kind="stable")
    rows = np.arange(n)
    return order if np.array_equal(labels[order], rows) and not np.array_equal(labels, rows) else None


def _plain(result: Any) -> Any:
    """Other libraries' results as numpy's, pandas' or Python's own."""
    if isinstance(result, np.ma.MaskedArray):
        plain = result.data.astype(object)
        plain[np.ma.getmaskarray(result)] = None
        return plain
    if isinstance(result, np.ndarray):
        result = np.asarray(result)  # a matrix has two dimensions whatever is taken of it
        return {name: result[name] for name in result.dtype.names} if result.dtype.names else result
    if isinstance(result, pd.Series | pd.DataFrame | dict | list | str | bytes):
        return result
    if isinstance(result, tuple | Iterator):
        return list(result)
    for method in (
        "toarray",
        "detach",
        "to_pandas",
    ):  # scipy's sparse ones, torch's tensors, Arrow's and Polars' tables
        if hasattr(result, method):
            plain = getattr(result, method)()
            return plain.cpu().numpy() if method == "detach" else plain
    return result


def _columns_of(returned: Returned, result: Any, n: int) -> list[NDArray[Any]]:
    """The result column by column: by name where it has names, else by position."""
    if isinstance(result, list) and result and all(isinstance(row, dict) for row in result):
        _check_names(returned, result[0], may_be_values=True)
        names = list(returned.names or result[0])
        return [objects([row[name] for row in result]) for name in names if all(name in row for row in result)]
    if isinstance(result, dict):
        result = {name: _plain(values) for name, values in result.items()}
        if returned.names is None and len(result) == 1:
            return _columns_of(returned, next(iter(result.values())), n)
        _check_names(returned, result, may_be_values=True)
        return [_flat(_array(result[name]), n) for name in returned.names or result if name in result]
    if isinstance(result, pd.DataFrame):
        if not _is_numbered(result.columns):
            _check_names(returned, result.columns)
            result = result.rename(columns=str)
            result = result[list(returned.names)] if returned.names is not None else result
        return [_array(result.iloc[:, i]) for i in range(result.shape[1])]
    array = _array(result)
    if n == 1 and array.shape == (len(returned.fields),):  # squeezed: of one row its values are left
        return list(array.reshape(-1, 1))
    if array.ndim == 0 and n == 1:
        return [array.reshape(1)]
    if array.ndim == 0:
        raise ModelOutputError.differs(returned.method, _declared(returned), _shown(result, n))
    return [array] if array.ndim == 1 else list(array.T)


def _is_numbered(names: pd.Index[Any]) -> bool:
    """Whether columns were never named: 0, 1, ..."""
    return bool(names.equals(pd.RangeIndex(len(names))))


def _check_names(returned: Returned, found: Iterable[Any], *, may_be_values: bool = False) -> None:
    """Refuse a result with other names than the signature has: its columns by position may be anything.

    A dict's keys may be values of rows: those that the signature does not have are counted and not told.
    """
    names = [str(name) for name in found]
    if returned.names is not None and not set(returned.names) <= set(names):
        if may_be_values:
            known = [name for name in names if name in returned.names]
            others = len(names) - len(known)
            names = [*known, f"{others} other {'name' if others == 1 else 'names'}"] if others else known
        raise ModelOutputError.names(returned.method, returned.names, names)


def _array(values: Any) -> NDArray[Any]:
    """The values as they are: numpy makes doubles of whole numbers beside others, and text of what is beside it."""
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, pd.Series | pd.api.extensions.ExtensionArray):
        is_nullable = isinstance(values.dtype, pd.api.extensions.ExtensionDtype)
        whole = is_nullable and pd.api.types.is_integer_dtype(values.dtype) and pd.isna(values).any()
        return values.to_numpy(dtype=object) if whole else np.asarray(values)
    array = np.asarray(values)
    if array.dtype.kind not in "fU" or not isinstance(values, list):
        return array
    own = np.asarray(values, dtype=object)
    if array.dtype.kind == "U":
        return array if all(isinstance(v, str) for v in own.flat) else own
    return own if any(isinstance(v, int) and abs(v) > _EXACT for v in own.flat) else array


def _flat(values: NDArray[Any], n: int) -> NDArray[Any]:
    """A column of one value per row, (n, 1) as (n,); of one row also the bare value."""
    if values.ndim == 0 and n == 1:
        return values.reshape(1)
    return values.reshape(len(values)) if values.ndim == 2 and values.shape[1] == 1 else values  # noqa: PLR2004


def _nested_field(returned: Returned, result: Any, n: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One field of lists, maps or objects: a Python value per row, checked against the type by Arrow."""
    type_ = returned.fields[0][1]
    try:
        rows = _rows_of(type_, result, n)
    except TypeError as error:
        raise ModelOutputError.differs(returned.method, _declared(returned), _shown(result, n)) from error
    if len(rows) != n:
        raise ModelOutputError.count(returned.method, len(rows), n)
    try:
        values = pa.array([_arrow_value(type_, row) for row in rows], type=arrow_type(type_))
    except (pa.ArrowException, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelOutputError.differs(returned.method, _declared(returned), _shown(result, n)) from error
    return objects(values.to_pylist()), values.is_null().to_numpy(zero_copy_only=False)


def _rows_of(type_: ModelType, result: Any, n: int) -> list[Any]:
    if isinstance(result, pd.DataFrame):
        return result.to_dict("records") if isinstance(type_, Object) else list(result.iloc[:, 0])
    if isinstance(result, dict) and isinstance(type_, Object):
        if n == 1 and not all(_is_column(values) for values in result.values()):
            return [result]
        names = list(result)
        return [dict(zip(names, row, strict=True)) for row in zip(*result.values(), strict=True)]
    if isinstance(result, dict) and len(result) == 1:
        return list(next(iter(result.values())))
    return [result] if n == 1 and _is_squeezed(type_, result) else list(result)


def _is_squeezed(type_: ModelType, result: Any) -> bool:
    """Whether an array is what is left of one row."""
    if not isinstance(result, np.ndarray):
        return False
    match type_:
        case Tensor():
            return bool(result.shape == type_.shape[1:])
        case Array():
            return bool(result.ndim == 1 and result.dtype.kind != "O")
        case _:
            return bool(result.ndim == 0)


def _is_column(values: Any) -> bool:
    return isinstance(values, list | tuple | np.ndarray | pd.Series) and np.ndim(values) > 0


def _arrow_value(type_: ModelType, value: Any) -> Any:
    """A row's result in the shape that Arrow takes for the type; refuses a tensor of another shape."""
    if _is_nothing(type_, value):
        return None
    match type_:
        case Tensor():
            array = np.asarray(value)
            if array.shape != type_.shape[1:]:
                msg = "another shape"
                raise ValueError(msg)
            return array.tolist()
        case Array():
            return [_arrow_value(type_.element, v) for v in value]
        case Map():
            return [(key, _arrow_value(type_.value, v)) for key, v in value.items()]
        case Object():
            known = {member.name: member for member in type_.members}
            if set(value) - set(known) or any(m.required and m.name not in value for m in type_.members):
                msg = "other members"
                raise ValueError(msg)
            return {name: _arrow_value(known[name].type, v) for name, v in value.items()}
        case _:
            return value.item() if isinstance(value, np.generic) else value


def _is_nothing(type_: ModelType, value: Any) -> bool:
    """Whether the value says that there is none; a NaN is a number where the type has one."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value)) and type_ not in ("double", "float")


def arrow_type(type_: ModelType) -> pa.DataType:
    """A result's type as Arrow's; times are instants in UTC."""
    match type_:
        case Array():
            return pa.list_(arrow_type(type_.element))
        case Map():
            return pa.map_(pa.string(), arrow_type(type_.value))
        case Object():
            return pa.struct([(member.name, arrow_type(member.type)) for member in type_.members])
        case Tensor():
            inner = ARROW_TYPES[type_.dtype]
            for _ in type_.shape[1:]:
                inner = pa.list_(inner)
            return inner
        case _:
            return ARROW_TYPES[str(type_)]


def _declared(returned: Returned) -> str:
    types = ", ".join(dict.fromkeys(str(type_) for _, type_ in returned.fields))
    return f"{len(returned.fields)} value(s) of type {types} per row"


def _shown(result: Any, n: int) -> str:
    """What a result is, without its values."""
    if isinstance(result, dict):
        return f"returned a dict of {len(result)} {'name' if len(result) == 1 else 'names'} for {n} rows"
    if isinstance(result, list):
        kinds = ", ".join(dict.fromkeys(type(row).__name__ for row in result))
        return f"returned a list of {len(result)} {kinds} for {n} rows"
    if isinstance(result, np.ndarray | pd.Series | pd.DataFrame):
        return f"returned shape {np.shape(result)} for {n} rows"
    return f"returned a {type(result).__name__} for {n} rows"


def _typed(returned: Returned, kind: str, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One field in its declared type; refuses what would change a value, as Spark before 4.1 does silently."""
    dtype = np.dtype(NUMPY_TYPES[kind])
    if values.dtype.kind == "f" and kind in ("double", "float"):
        with np.errstate(over="ignore"):
            typed = values.astype(dtype, copy=False)
        if typed.itemsize < values.itemsize and np.any(np.isinf(typed) & np.isfinite(values)):
            found = f"returned {values.dtype} values too large for {kind}"
            raise ModelOutputError.differs(returned.method, kind, found)
        return typed, np.zeros(len(values), dtype=bool)
    null = np.asarray(pd.isna(values))
    present = values[~null]
    if kind == "datetime":
        present = _micros(present)
    elif values.dtype.kind == "O" and kind not in _OBJECTS and len(present):
        present = _whole(present) if kind in INTEGER_RANGES else np.asarray(present.tolist())
    if not len(present):
        present = np.zeros(0, dtype=dtype)
    if not _holds(present, kind):
        raise ModelOutputError.differs(returned.method, kind, f"returned {_described(present, kind)}")
    typed = np.full(len(values), None if kind in _OBJECTS else 0, dtype=dtype)
    typed[~null] = present.astype(dtype, copy=False)
    return typed, null


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers among objects, each to its last digit; as they are where others are among them."""
    array = np.asarray(values.tolist())
    is_whole = array.dtype.kind == "f" and np.all(np.isfinite(array) & (array == np.floor(array)))
    return np.asarray([int(v) for v in values]) if is_whole else array


def _micros(values: NDArray[Any]) -> NDArray[Any]:
    """Times as microseconds since the epoch, UTC; anything else as it is. Years from 1 to 9999."""
    if values.dtype.kind == "O":
        if not all(isinstance(v, dt.date | np.datetime64) for v in values):
            return values
        values = np.array([_without_zone(v) for v in values], dtype="datetime64[us]")
    return values.astype("datetime64[us]").astype("int64") if values.dtype.kind == "M" else values


def _without_zone(time: Any) -> Any:
    """A time in UTC."""
    if isinstance(time, dt.datetime) and time.tzinfo is not None:
        time = time.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return np.datetime64(time, "us")


def _holds(values: NDArray[Any], kind: str) -> bool:
    """Whether a field of this MLflow type can take the values unchanged."""
    match kind:
        case "string":
            return values.dtype.kind == "U" or all(isinstance(v, str) for v in values)
        case "binary":
            return all(isinstance(v, bytes | bytearray) for v in values)
        case "datetime":
            return values.dtype.kind == "i"
        case "boolean":
            return values.dtype.kind == "b"
        case "double" | "float":
            return values.dtype.kind in "fiub"
        case _:
            low, high = INTEGER_RANGES[kind]
            if values.dtype.kind == "f":
                return bool(np.all((values == np.floor(values)) & (values >= low) & (values < high)))
            return values.dtype.kind in "iub" and bool(np.all((values >= low) & (values <= high - 1)))


def _described(values: NDArray[Any], kind: str) -> str:
    if kind in INTEGER_RANGES and values.dtype.kind in "fiu":
        return f"{values.dtype} values that do not fit {kind}"
    return str(values.dtype)
