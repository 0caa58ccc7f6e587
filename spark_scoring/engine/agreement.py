"""Whether calls of a model agree: the same results for the same rows, and input that is left as it was.

Numbers may differ a little, as libraries sum in another order for other batches. Imports no pyspark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fields = list[tuple["NDArray[Any]", "NDArray[np.bool_]"]]
"""What a method returned: per returned field the values and a mask of nulls."""

_RELATIVE, _OF_LARGEST = 1e-4, 1e-5
"""How much a number may differ: libraries sum in another order for other batches, some in single precision."""


def copied(fields: Fields) -> Fields:
    """Fields in memory of their own."""
    return [(values.copy(), null.copy()) for values, null in fields]


def taken(fields: Fields, rows: NDArray[np.integer[Any]]) -> Fields:
    """The fields of some rows, in their order."""
    return [(values[rows], null[rows]) for values, null in fields]


def same_fields(a: Fields, b: Fields) -> bool:
    """Whether two calls gave the same nulls and, but for how a library sums, the same values."""
    return all(
        len(x) == len(y) and np.array_equal(p, q) and _same_values(x[~p], y[~q])
        for (x, p), (y, q) in zip(a, b, strict=True)
    )


def wrong_rows(expected: Fields, found: Fields, tolerance: float) -> NDArray[np.bool_]:
    """Rows of which any field is another value, or is null in only one of the two."""
    wrong = np.zeros(len(found[0][1]), dtype=bool)
    for (a, no_a), (b, no_b) in zip(expected, found, strict=True):
        if a.dtype.kind == "f":
            same = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        elif a.dtype.kind == "O":
            same = np.array([_same_value(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool)
        else:
            same = a == b
        wrong |= (no_a != no_b) | ~(same | no_a)
    return wrong


def row_texts(fields: Fields) -> list[str]:
    """Each row's results as a text that is equal for equal ones."""
    columns = [
        [None if n else _rounded(v) for v, n in zip(values.tolist(), null, strict=True)] for values, null in fields
    ]
    return [repr(row) for row in zip(*columns, strict=True)]


def equal_input(a: Any, b: Any) -> bool:
    """Whether two inputs of a model are equal to the last bit: one that it was given, and one made anew."""
    match a:
        case pd.DataFrame():
            if not (a.columns.equals(b.columns) and a.index.equals(b.index) and list(a.dtypes) == list(b.dtypes)):
                return False
            texts = (repr(frame.select_dtypes(object).to_numpy().tolist()) for frame in (a, b))
            return a.select_dtypes(exclude=object).equals(b.select_dtypes(exclude=object)) and len({*texts}) == 1
        case dict():
            return a.keys() == b.keys() and all(equal_input(a[name], b[name]) for name in a)
        case np.ndarray() if a.dtype.kind != "O":
            return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        case _:
            return repr(a) == repr(b)


def _same_values(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.dtype.kind == "f":
        finite = np.abs(a[np.isfinite(a)])
        slack = _OF_LARGEST * float(finite.max(initial=0.0))
        return bool(np.isclose(a, b, rtol=_RELATIVE, atol=slack, equal_nan=True).all())
    if a.dtype.kind == "O":
        return all(_same_value(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return bool(np.array_equal(a, b))


def _same_value(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=_RELATIVE, atol=_OF_LARGEST, equal_nan=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_value(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
