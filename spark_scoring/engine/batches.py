"""A batch between Spark's form, pandas or Arrow, and the worker's arrays. Imports no pyspark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_scoring.engine.inputs import objects
from spark_scoring.engine.results import arrow_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.engine.worker import Scored
    from spark_scoring.model.types import ModelType


def series_columns(plan: WorkerPlan, batch: Sequence[pd.Series[Any]]) -> list[NDArray[Any]]:
    """A batch's columns, made anew: nobody else holds their memory."""
    return [
        _series_matrix(series) if packed else series.to_numpy(dtype=object, copy=True)
        for series, (_, _, packed) in zip(batch, plan.lanes, strict=True)
    ]


def arrow_columns(plan: WorkerPlan, lanes: Sequence[pa.Array]) -> list[NDArray[Any]]:
    """A batch's columns, made anew: nobody else holds their memory."""
    return [
        arrow_matrix(lane) if packed else arrow_values(lane, type_)
        for lane, (type_, _, packed) in zip(lanes, plan.lanes, strict=True)
    ]


def _series_matrix(series: pd.Series[Any]) -> NDArray[Any]:
    """A Series of equally long arrays as an (n, k) matrix; concatenating costs a third of stacking."""
    arrays = series.to_numpy()
    return np.concatenate(arrays).reshape(len(arrays), -1)


def arrow_matrix(lists: pa.ListArray) -> NDArray[Any]:
    """An Arrow list column without nulls as an (n, k) matrix."""
    values = lists.flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[Any] = values.reshape(len(lists), -1 if len(lists) else 0)
    return matrix if matrix.flags.writeable else matrix.copy()


def arrow_values(column: pa.Array, type_: str) -> NDArray[Any]:
    """Values that travel alone, as objects; a map as a list of pairs."""
    values: NDArray[Any] = objects(column.to_pylist()) if type_ == "nested" else column.to_numpy(zero_copy_only=False)
    return values


def to_pandas(fields: Sequence[tuple[str, ModelType]], scored: Scored) -> pd.DataFrame:
    """A batch's results as a frame: a column per field, and ``error``."""
    columns = {
        name: _pandas_array(values, null) for (name, _), (values, null) in zip(fields, scored.fields, strict=True)
    }
    return pd.DataFrame({**columns, "error": scored.errors})


def _pandas_array(values: NDArray[Any], null: NDArray[np.bool_]) -> Any:
    """A masked array: with plain float64 a NaN of the model would become a null, and integers would lose digits."""
    match values.dtype.kind:
        case "f":
            return pd.arrays.FloatingArray(values, null)
        case "b":
            return pd.arrays.BooleanArray(values, null)
        case "i":
            return pd.arrays.IntegerArray(values, null)
        case _:
            return values


def to_arrow(fields: Sequence[tuple[str, ModelType]], scored: Scored) -> list[pa.Array]:
    """A batch's results as arrays: one per field, and the errors behind them."""
    columns = [
        pa.array(values, type=_arrow_type(type_), mask=null, from_pandas=False)
        for (_, type_), (values, null) in zip(fields, scored.fields, strict=True)
    ]
    return [*columns, pa.array(scored.errors, type=pa.string())]


def _arrow_type(type_: ModelType) -> pa.DataType:
    return pa.int64() if type_ == "datetime" else arrow_type(type_)
