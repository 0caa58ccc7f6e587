"""What registration writes into the MLmodel's metadata: what training knew and the trained model forgets.

Scoring reads the category levels (``model.categories``), drift reports the statistics, the doctor the dtypes. The
record holds values of training data: quantiles of numbers and times, the levels of categories and of text columns
that have few. Text that could name a person or a thing (most values are distinct) leaves only its count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.model.categories import RECORDED
from spark_scoring.registration.frame import category_columns, is_category

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.registration.frame import Inputs
    from spark_scoring.registration.tasks import Task

_FORMAT = 1
_QUANTILES = tuple(i / 10 for i in range(11))
_LEVELS = 50
"""The most frequent levels whose shares are kept."""
_DISTINCT = 0.5
"""Above this share of distinct values a text column is taken for an identifier."""


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
    if isinstance(X, pd.DataFrame):
        levels = {**category_columns(X), **{name: list(values) for name, values in categories.items()}}
        record["dtypes"] = {str(name): "category" if is_category(d) else str(d) for name, d in X.dtypes.items()}
        record["categories"] = {name: [plain(level) for level in values] for name, values in levels.items()}
        if statistics:
            record["statistics"] = {str(name): _statistics(X[name]) for name in X.columns}
    else:
        record["dtypes"] = str(X.dtype)
    return {RECORDED: record}


def recorded(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What registration wrote into this metadata; empty where it did not."""
    found = (metadata or {}).get(RECORDED)
    return found if isinstance(found, dict) else {}


def plain(value: Any) -> Any:
    """A label or level as JSON has it: numpy's numbers as Python's, times and dates as ISO 8601."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.isoformat() if hasattr(value, "isoformat") else value


def _statistics(column: pd.Series[Any]) -> dict[str, Any]:
    """Share of nulls, and what the values are like: deciles, or shares of levels."""
    statistics: dict[str, Any] = {"nulls": float(column.isna().mean())}
    kind = getattr(column.dtype, "kind", "O")
    if not is_category(column.dtype) and kind in "iuf":
        return statistics | _of_numbers(column)
    if kind == "M":
        return statistics | _of_times(column)
    return statistics | _of_levels(column)


def _of_numbers(column: pd.Series[Any]) -> dict[str, Any]:
    numbers = column.dropna().to_numpy(dtype="float64")
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return {}
    return {
        "mean": float(numbers.mean()),
        "std": float(numbers.std()),
        "quantiles": [float(q) for q in np.quantile(numbers, _QUANTILES)],
    }


def _of_times(column: pd.Series[Any]) -> dict[str, Any]:
    present = column.dropna()
    return {"quantiles": [q.isoformat() for q in present.quantile(list(_QUANTILES))]} if len(present) else {}


def _of_levels(column: pd.Series[Any]) -> dict[str, Any]:
    """Lists, maps and the like have no levels."""
    present = column.dropna()
    try:
        counts = present.value_counts()
    except TypeError:
        return {}
    counts = counts[counts > 0]
    found: dict[str, Any] = {"distinct": len(counts)}
    if is_category(column.dtype) or column.dtype.kind == "b" or len(counts) <= _DISTINCT * len(present):
        shares = counts.iloc[:_LEVELS] / len(present)
        found["levels"] = [[plain(level), float(share)] for level, share in shares.items()]
    return found
