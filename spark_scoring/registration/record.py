"""What registration writes into the MLmodel's metadata: what training knew and the trained model forgets.

Scoring reads the category levels (``model.recorded``), drift reports the statistics, the doctor the dtypes. The
record holds values of training data: quantiles of numbers and times, the levels of category columns, and those of
text that has few distinct values and each in several rows. Other text leaves only the count of its values.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.model.loaded import changed_settings
from spark_scoring.model.recorded import RECORDED
from spark_scoring.registration.frame import category_columns, is_category

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.model.types import Missing
    from spark_scoring.registration.frame import Inputs
    from spark_scoring.registration.tasks import Task

_FORMAT = 1
_QUANTILES = tuple(i / 10 for i in range(11))
_LEVELS = 50
"""Text with more distinct values names persons or things; of category columns, the most frequent levels kept."""
_FEWEST = 5
"""Rows that a level has at least, to be kept with its share."""


def training_record(
    X: Inputs,
    *,
    task: Task | None,
    classes: Sequence[Any] | None,
    categories: Mapping[str, Sequence[Any]],
    statistics: bool = True,
) -> dict[str, Any]:
    """The record of a training frame, as JSON types, under the key that ``recorded_levels`` reads.

    Args:
        X: the frame or matrix of training.
        task: what the model is for.
        classes: the model's class labels, where it knows them.
        categories: levels that the caller names, beside those of category columns.
        statistics: whether to keep what the values are like.

    """
    record: dict[str, Any] = {"format": _FORMAT, "rows": len(X)}
    if task is not None:
        record["task"] = task
    if classes is not None:
        record["classes"] = [plain(label) for label in classes]
    if settings := changed_settings():
        record["settings"] = settings
    if isinstance(X, pd.DataFrame):
        levels = {**category_columns(X), **{name: list(values) for name, values in categories.items()}}
        record["dtypes"] = {str(name): "category" if is_category(d) else str(d) for name, d in X.dtypes.items()}
        if ordered := [str(name) for name, d in X.dtypes.items() if is_category(d) and d.ordered]:
            record["ordered"] = ordered
        if nulls := {str(name): kind for name in X.columns if (kind := _null_kind(X[name])) is not None}:
            record["nulls"] = nulls
        record["categories"] = {name: [plain(level) for level in values] for name, values in levels.items()}
        if statistics:
            # as one text: MLflow reads the file in every worker, and YAML takes seconds for thousands of features
            record["statistics"] = json.dumps({str(name): _statistics(X[name]) for name in X.columns})
    else:
        record["dtypes"] = str(X.dtype)
    return {RECORDED: record}


def _null_kind(column: pd.Series[Any]) -> Missing | None:
    """What a missing text is in this column; None where it holds no text, or none is missing."""
    if is_category(column.dtype):
        return "NaN"
    if isinstance(column.dtype, pd.StringDtype):
        return "NaN" if str(column.dtype) == "str" else "string"
    if column.dtype != object or pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        return None
    kinds = _null_types(column)
    return next((kind for type_, kind in _NULL_KINDS if type_ in kinds), None)


def _null_types(column: pd.Series[Any]) -> set[type]:
    return {type(value) for value in column[column.isna().to_numpy()]}


def mixed_nulls(X: pd.DataFrame) -> list[str]:
    """Columns of objects whose missing values are of several kinds."""
    return [str(name) for name in X.columns if X[name].dtype == object and len(_null_types(X[name])) > 1]


_NULL_KINDS: tuple[tuple[type, Missing], ...] = ((type(None), "None"), (float, "NaN"), (type(pd.NA), "NA"))


def plain(value: Any) -> Any:
    """A label or level as JSON has it: numpy's numbers as Python's, times and dates as ISO 8601."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.isoformat() if hasattr(value, "isoformat") else value


def _statistics(column: pd.Series[Any]) -> dict[str, Any]:
    """Share of nulls, and what the values are like: deciles, or shares of levels; nulls alone of lists and the like."""
    statistics: dict[str, Any] = {"nulls": float(column.isna().mean())}
    kind = getattr(column.dtype, "kind", "O")
    if (
        is_category(column.dtype)
        or kind == "b"
        or pd.api.types.infer_dtype(column, skipna=True) in ("string", "boolean")
    ):
        return statistics | _of_levels(column)
    if kind in "iuf":
        return statistics | _of_numbers(column)
    return statistics | _of_times(column) if kind == "M" else statistics


def _of_numbers(column: pd.Series[Any]) -> dict[str, Any]:
    numbers = column.dropna().to_numpy(dtype="float64")
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return {}
    quantiles = np.quantile(numbers, _QUANTILES)
    return {
        "mean": float(numbers.mean()),
        "std": float(numbers.std()),
        "quantiles": [float(q) for q in quantiles],
        **_bins(numbers, quantiles, np.nextafter(quantiles, -np.inf)),
    }


def _of_times(column: pd.Series[Any]) -> dict[str, Any]:
    """Quantiles as ISO 8601 text, bounds as microseconds since 1970 in UTC."""
    present = column.dropna()
    if not len(present):
        return {}
    quantiles = present.quantile(list(_QUANTILES))
    of_all, of_quantiles = (
        times.to_numpy(dtype="datetime64[us]").astype("int64").astype("float64") for times in (present, quantiles)
    )
    return {"quantiles": [q.isoformat() for q in quantiles], **_bins(of_all, of_quantiles, of_quantiles - 1)}


def _bins(
    values: np.ndarray[Any, Any], quantiles: np.ndarray[Any, Any], below: np.ndarray[Any, Any]
) -> dict[str, list[float]]:
    """Bins for drift: the upper bound of each, which belongs to it, and the shares of values; one share more.

    The first bin is what is under the least value, and the last what is above the greatest: no value of training. A
    value that several quantiles have is a bin of its own; of counts and codes, deciles alone do not tell the shares.

    Args:
        values: all values of the column.
        quantiles: their deciles, with the least and the greatest value.
        below: the number right under each of the quantiles.

    """
    tied = {q for q, n in zip(*np.unique(quantiles, return_counts=True), strict=True) if n > 1}
    bounds = np.unique([below[0], *quantiles[1:], *(b for q, b in zip(quantiles, below, strict=True) if q in tied)])
    counts = np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds) + 1)
    return {"bounds": bounds.tolist(), "shares": (counts / len(values)).tolist()}


def _of_levels(column: pd.Series[Any]) -> dict[str, Any]:
    """Levels with their shares, where they are levels: few, and none of a handful of rows only."""
    counts = column.value_counts()
    counts = counts[counts > 0]
    found: dict[str, Any] = {"distinct": len(counts)}
    if is_category(column.dtype) or len(counts) <= _LEVELS:
        kept = counts[counts >= _FEWEST].iloc[:_LEVELS]
        found["levels"] = [[plain(level), float(n / counts.sum())] for level, n in kept.items()]
    return found
