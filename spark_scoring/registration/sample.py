"""Rows that represent a training frame, few enough to be predicted in seconds: what verification looks at.

The head, rows spread evenly, the smallest and the largest of each column, its nulls of every kind, every level, and
the rows whose predictions are the smallest, the largest, missing, or the first of their label.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.registration.tasks import prediction_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from spark_scoring.registration.frame import Inputs

_HEAD, _SPREAD = 5, 200
_FEWEST, _MOST = 20, 1000
_CELLS = 200_000
"""Values of the sample at most; the casts of each take some microseconds."""
_LEVELS = 1000
"""Levels of one column at most; of columns of text with more values, none."""
_FIRST = 200
"""Rows that are predicted first, to learn how fast the model is."""
_SECONDS = 3.0
"""What predicting the frame to find notable rows may take."""


def sample_of(X: Inputs, predict: Callable[[Any], Any] | None) -> Inputs:
    """The rows of the frame or matrix that represent it; a frame's are numbered anew, as scoring numbers them.

    Args:
        X: the frame or matrix of training.
        predict: the model in memory; None: its predictions choose no rows.

    """
    rows = len(X)
    cells = X.shape[1] if isinstance(X, pd.DataFrame) else int(np.prod(X.shape[1:]))
    most = int(np.clip(_CELLS // max(cells, 1), _FEWEST, _MOST))
    if predict is None:
        most = min(most, _FIRST)
    if rows <= most:
        return _taken(X, np.arange(rows))
    notable, speed = _notable(X, predict)
    most = max(_FEWEST, min(most, int(speed * _SECONDS)))
    spread = np.linspace(0, rows - 1, min(_SPREAD, most // 3)).astype(int).tolist()
    found = [*range(_HEAD), *notable, *spread, *_of_columns(X, most)]
    chosen = list(dict.fromkeys(found))[:most]
    return _taken(X, np.array(chosen))


def _taken(X: Inputs, rows: NDArray[np.int_]) -> Inputs:
    return X.iloc[rows].reset_index(drop=True) if isinstance(X, pd.DataFrame) else X[rows]


def _of_columns(X: Inputs, most: int) -> list[int]:
    """Rows of each column in turn, so that of many columns each has some: nulls first, then extremes, then levels."""
    if isinstance(X, pd.DataFrame):
        groups = [_of_column(X.iloc[:, i]) for i in range(X.shape[1])]
    else:
        flat = X.reshape(len(X), -1)
        groups = [_of_column(pd.Series(flat[:, i])) for i in range(min(flat.shape[1], most))]
    found: list[int] = []
    iterators = [iter(rows) for rows in groups]
    while iterators and len(found) < 2 * most:
        left = []
        for rows in iterators:
            row = next(rows, None)
            if row is not None:
                found.append(row)
                left.append(rows)
        iterators = left
    return found


def _of_column(column: pd.Series[Any]) -> Iterator[int]:
    yield from _null_rows(column)
    kind = getattr(column.dtype, "kind", "O")
    if not isinstance(column.dtype, pd.CategoricalDtype) and kind in "iufM":
        present = np.flatnonzero(column.notna().to_numpy())
        if len(present):
            values = column.iloc[present]
            numbers = (values.astype("int64") if kind == "M" else values).to_numpy(dtype="float64")
            yield int(present[numbers.argmin()])
            yield int(present[numbers.argmax()])
        return
    yield from _level_rows(column)


def _null_rows(column: pd.Series[Any]) -> Iterator[int]:
    """The first row of each kind of null: among objects None, NaN and pandas' NA are different to a model."""
    missing = np.flatnonzero(column.isna().to_numpy())
    kinds: dict[str, int] = {}
    for row in missing[:_LEVELS].tolist():
        kinds.setdefault(type(column.iloc[row]).__name__, row)
    yield from kinds.values()


def _level_rows(column: pd.Series[Any]) -> Iterator[int]:
    try:
        codes, levels = pd.factorize(column)
    except TypeError:  # lists and the like
        return
    if len(levels) > _LEVELS and not isinstance(column.dtype, pd.CategoricalDtype):
        return
    present = codes >= 0
    _, first = np.unique(codes[present], return_index=True)
    yield from np.flatnonzero(present)[first].tolist()[:_LEVELS]


def _notable(X: Inputs, predict: Callable[[Any], Any] | None) -> tuple[list[int], float]:
    """Rows whose predictions stand out, of as many rows as time allows; and rows that are predicted per second."""
    if predict is None:
        return [], float(_MOST)
    until = time.perf_counter() + _SECONDS
    order = np.random.default_rng(0).permutation(len(X))
    found: dict[Any, tuple[float, int]] = {}
    start, size, speed = 0, _FIRST, float(_MOST)
    while start < len(X) and size:
        rows = order[start : start + size]
        begin = time.perf_counter()
        try:
            columns = prediction_columns(predict(_taken(X, rows)))
        except Exception:  # noqa: BLE001  a row on which it raises is not for the sample
            break
        speed = len(rows) / max(time.perf_counter() - begin, 1e-6)
        if any(column.shape != (len(rows),) for column in columns):
            break
        for i, column in enumerate(columns):
            _note(found, i, column, rows)
        start += len(rows)
        size = int(max(until - time.perf_counter(), 0) * speed)
    return [row for _, row in found.values()], speed


def _note(found: dict[Any, tuple[float, int]], column: int, values: NDArray[Any], rows: NDArray[np.int_]) -> None:
    """Keep the extremes of numbers, and the first of each kind of other values."""
    if values.dtype.kind in "iuf":
        numbers = values.astype("float64")
        for name, place in (("low", _place(np.nanargmin, numbers)), ("high", _place(np.nanargmax, numbers))):
            if place is not None:
                value = -float(numbers[place]) if name == "low" else float(numbers[place])
                if (column, name) not in found or value > found[column, name][0]:
                    found[column, name] = (value, int(rows[place]))
        missing = np.flatnonzero(np.isnan(numbers))
        if len(missing):
            found.setdefault((column, "missing"), (0.0, int(rows[missing[0]])))
    _note_labels(found, column, values, rows)


def _note_labels(found: dict[Any, tuple[float, int]], column: int, values: NDArray[Any], rows: Iterable[int]) -> None:
    """The first row of each label or type, where there are few."""
    if values.dtype.kind == "f":
        return
    for value, row in zip(values.tolist(), rows, strict=True):
        kind = (column, type(value).__name__, value if isinstance(value, str | int) else "")
        if kind not in found and len(found) < _FIRST:
            found[kind] = (0.0, int(row))


def _place(which: Callable[[Any], Any], numbers: NDArray[Any]) -> int | None:
    return None if np.isnan(numbers).all() else int(which(numbers))
