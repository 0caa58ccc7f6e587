"""Test your own models: whether they score in Spark as where they were trained. Fixtures are in ``pytest_plugin``."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql.types import LongType, StructField, StructType

from spark_scoring.engine.frame_values import frame_schema, read_column
from spark_scoring.errors import Gathering, PlanError
from spark_scoring.plan.outputs import ERROR_COLUMN, METHODS
from spark_scoring.scoring import score_batch
from spark_scoring.session import get_session
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

_SHOWN = 5
"""Rows that a failed comparison shows."""


def table_of(frame: pd.DataFrame, spark: SparkSession | None = None, *, schema: StructType | None = None) -> DataFrame:
    """The rows of a pandas frame as a table has them, in the frame's order of columns.

    A missing value is a null. Levels of a category become what they are, text or numbers. A time without a zone is a
    TIMESTAMP_NTZ, which scoring takes as UTC, so that the model is given the times of the frame.

    Args:
        frame: the rows.
        spark: the session; default: the active one, else a new local one.
        schema: the columns with other types than those that the dtypes say, such as DECIMAL or DATE.

    Raises:
        PlanError: a column's values are not of one Spark type, or not of the schema's.

    """
    types = frame_schema(frame, schema, {str(name).lower() for name in frame.columns})
    problems, columns = Gathering(), []
    for field in types.fields:
        with problems.attempt():
            columns.append(read_column(frame, field))
    problems.raise_all(PlanError)
    return (spark or get_session()).createDataFrame(list(zip(*columns, strict=True)), types)


def assert_scores_like(
    model: str,
    rows: pd.DataFrame,
    expected: Any,
    *,
    spark: SparkSession | None = None,
    method: str = "predict",
    schema: StructType | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    **options: Any,
) -> None:
    """Score rows in Spark, and fail where a prediction is not the one that the model gave where it was trained.

    Args:
        model: its URI: ``models:/name/1``, ``runs:/<id>/model`` or a folder.
        rows: of the frame that it was trained on, or others of the same columns.
        expected: what the trained model returned for these rows in their order, such as ``model.predict(rows)``: n
            values, or n rows of values.
        spark: the session; default: the active one, else a new local one.
        method: the one that gave ``expected``, such as ``predict_proba``.
        schema: the types that the table has, where they are others than the frame's dtypes say.
        rtol: how far numbers may differ, relative to the expected one. Some libraries compute in single precision.
        atol: the same, absolute.
        options: of ``score_batch``, such as ``policy`` or ``columns``.

    Raises:
        AssertionError: rows differ, or are bad; with the first of them, and their predictions.
        PlanError: the model cannot score such a table; with every reason.

    """
    wanted = [_plain(value) for value in np.asarray(expected).tolist()]
    if len(wanted) != len(rows):
        text = f"expected has {len(wanted)} results, and there are {len(rows)} rows"
        raise AssertionError(text)
    number = free_prefix("row", map(str, rows.columns))
    numbered = rows.reset_index(drop=True).assign(**{number: range(len(rows))})
    types = None if schema is None else StructType([*schema.fields, StructField(number, LongType())])
    table = table_of(numbered, spark, schema=types)
    scored = score_batch(table, model, predict=method, **options)
    found = scored.select(quote(number), quote(METHODS[method]), quote(ERROR_COLUMN)).collect()
    results = [(_plain(value), error) for _, value, error in sorted(found, key=lambda row: row[0])]
    if reasons := Counter(error for _, error in results if error is not None):
        told = "; ".join(f"{reason} in {n}" for reason, n in reasons.most_common(_SHOWN))
        text = f"{reasons.total()} of {len(rows)} rows cannot be scored: {told}"
        raise AssertionError(text)
    pairs = [(got, want) for (got, _), want in zip(results, wanted, strict=True)]
    if wrong := [i for i, pair in enumerate(pairs) if not _is_alike(*pair, rtol, atol)]:
        told = "; ".join(f"row {i}: {pairs[i][0]!r} and not {pairs[i][1]!r}" for i in wrong[:_SHOWN])
        text = f"{len(wrong)} of {len(rows)} predictions differ in Spark: {told}"
        raise AssertionError(text)


def _plain(value: Any) -> Any:
    """A result without the wrappings of numpy, pandas and Spark; None where it is missing."""
    match value:
        case list() | tuple():  # a struct of Spark's is a tuple, too
            return [_plain(inner) for inner in value]
        case np.generic():
            return _plain(value.item())
        case float() if math.isnan(value):
            return None
        case _:
            return value


def _is_alike(got: Any, want: Any, rtol: float, atol: float) -> bool:
    """Whether two results are the same; numbers up to a distance. One value in a list is the value."""
    match got, want:
        case (list(), list()):
            return len(got) == len(want) and all(_is_alike(a, b, rtol, atol) for a, b in zip(got, want, strict=True))
        case (_, [only]):
            return _is_alike(got, only, rtol, atol)
        case (float() | int(), float() | int()):
            return math.isclose(got, want, rel_tol=rtol, abs_tol=atol)
        case _:
            return bool(got == want)
