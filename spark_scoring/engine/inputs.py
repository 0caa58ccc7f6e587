"""From lanes to what the model takes: frames, matrices, dicts of arrays, lists, Series. Imports no pyspark."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.model.types import (
    NUMPY_TYPES,
    Array,
    Category,
    Levels,
    Map,
    Missing,
    ModelType,
    Object,
    OneOf,
    Tensor,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.spec import Takes
    from spark_scoring.plan.outputs import Returned

_PLAIN_NUMBERS = ("double", "float", "long", "integer", "boolean")


@dataclass(frozen=True)
class WorkerPlan:
    """All that a worker needs to know, as plain values."""

    features: tuple[tuple[str, ModelType], ...]
    """In the order in which the model wants them."""
    lanes: tuple[tuple[str, tuple[str, ...], bool], ...]
    """Per input column: type, features, whether they are packed into an array."""
    returns: tuple[Returned, ...]
    takes: Takes = "frame"
    params: tuple[tuple[str, Any], ...] = ()
    missing: tuple[tuple[str, Missing], ...] = ()
    """Text features whose missing values are something else than None to the model."""
    labels: tuple[tuple[str, int], ...] = ()
    """Features that the model's frame calls by a number: columns that had no names in training."""
    proven: bool = False
    """Whether the model was seen to score rows when the run was planned."""
    most_bad: float | None = None
    """A share of a task's rows: where more of them are bad, the task fails. Where more of all rows are bad, this is so
    in at least one task."""
    isolation_seconds: float = 600.0
    """What a task may spend on rows on which the model raises, beyond the time in which it scores others."""


def build_input(plan: WorkerPlan, columns: Sequence[NDArray[Any]]) -> Any:
    """What the model takes, in the signature's order and dtypes, made without touching single values of lanes."""
    types, labels = dict(plan.features), dict(plan.labels)
    if plan.takes == "frame" and len(plan.lanes) == 1 and _is_plain_lane(plan.lanes[0], types):
        return pd.DataFrame(columns[0], columns=[labels.get(name, name) for name, _ in plan.features], copy=False)
    values = _values(plan, types, columns)
    first, _ = plan.features[0]
    match plan.takes:
        case "frame":
            return pd.DataFrame({labels.get(name, name): values[name] for name, _ in plan.features}, copy=False)
        case "tensor":
            return values[first]
        case "tensors":
            return {name: values[name] for name, _ in plan.features}
        case "records":
            names = tuple(name for name, _ in plan.features)
            rows = zip(*(_plain(values[name]) for name in names), strict=True)
            return [dict(zip(names, row, strict=True)) for row in rows]
        case "values":
            return _plain(values[first])
        case "texts":
            return pd.Series(values[first], name=first, dtype=object)


def _values(plan: WorkerPlan, types: Mapping[str, ModelType], columns: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Each feature's values as the model has them."""
    missing = dict(plan.missing)
    values: dict[str, Any] = {}
    for (type_, names, packed), column in zip(plan.lanes, columns, strict=True):
        if packed and isinstance(types[names[0]], Tensor):
            values[names[0]] = _tensor(types[names[0]], column)
        elif packed:
            typed = column.view("datetime64[us]").astype("datetime64[ns]") if type_ == "datetime" else column
            values.update({name: _categorical(types[name], typed[:, i]) for i, name in enumerate(names)})
        else:
            own = _own_values(types[names[0]], column)
            values[names[0]] = _with_missing(own, missing.get(names[0], "None"))
    return values


def _with_missing(values: NDArray[Any], missing: Missing) -> Any:
    """Text with its missing values as training had them."""
    if missing == "None":
        return values
    if missing == "string":
        return pd.array(values, dtype="string")
    own = values.astype(object)
    own[pd.isna(own)] = np.nan if missing == "NaN" else pd.NA
    return own


def _is_plain_lane(lane: tuple[str, tuple[str, ...], bool], types: Mapping[str, ModelType]) -> bool:
    """Whether a lane's matrix is the frame as it is."""
    type_, names, packed = lane
    return packed and type_ in NUMPY_TYPES and type_ != "datetime" and len(names) == len(types)


def _tensor(type_: Any, matrix: NDArray[Any]) -> NDArray[Any]:
    dtype = NUMPY_TYPES.get(type_.dtype, type_.dtype)
    return matrix.astype(dtype, copy=False).reshape((len(matrix), *type_.shape[1:]))


def _categorical(type_: ModelType, values: NDArray[Any]) -> Any:
    if not isinstance(type_, Category):
        return values
    dtype = _category_dtype(type_.levels, ordered=type_.ordered)
    return pd.Categorical.from_codes(values, dtype=dtype)  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _category_dtype(levels: Levels, *, ordered: bool) -> pd.CategoricalDtype:
    values = [dt.date.fromisoformat(str(v)) for v in levels.values] if levels.type == "date" else list(levels.values)
    return pd.CategoricalDtype(values, ordered=ordered)


def _own_values(type_: ModelType, column: NDArray[Any]) -> NDArray[Any]:
    """A column that travels alone: text, bytes, or lists, maps and objects as Python has them."""
    if type_ == "string" or isinstance(type_, OneOf):
        return column
    return objects([_python_value(type_, value) for value in column])


def _python_value(type_: ModelType, value: Any) -> Any:
    """An Arrow value as the model takes it: numbers in lists as arrays, maps as dicts."""
    if value is None:
        return None
    match type_:
        case Array() if type_.element in _PLAIN_NUMBERS:
            dtype = NUMPY_TYPES[str(type_.element)]
            return np.array([np.nan if v is None else v for v in value], dtype=dtype)
        case Array():
            return [_python_value(type_.element, v) for v in value]
        case Map():
            return {key: _python_value(type_.value, v) for key, v in value}
        case Object():
            types = {member.name: member.type for member in type_.members}
            return {name: _python_value(types[name], v) for name, v in value.items()}
        case "binary":
            return bytes(value)  # a bytearray before Spark 4.1
        case _:
            return value


def _plain(values: Any) -> list[Any]:
    """Values as Python's own; times as datetimes."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        values = values.astype("datetime64[us]")
    plain = values.tolist()
    return [v.tolist() if isinstance(v, np.ndarray) else v for v in plain]


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """A column of objects, also where numpy would make a matrix of them."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column
