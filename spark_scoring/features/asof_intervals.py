"""Point-in-time joins of a small feature table, as intervals of validity that are broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import LongType, StructField, StructType

from spark_scoring.conversions.table import time_micros
from spark_scoring.features.asof_join import SMALL_BYTES, AsOfJoin, analyzed, cast_sql, estimated_bytes, is_plain
from spark_scoring.spark_versions import takes_arrow_tables
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

_LAST = 2**63 - 1

_MOST_ROWS = 200_000
_MOST_COPIES = 4
"""Rows of the cut intervals per feature row."""
_MOST_CANDIDATES = 16
"""Intervals of one key in one bucket."""
_FEW_CANDIDATES = 4
"""So few that narrower buckets do not pay."""


def by_intervals(spine: DataFrame, join: AsOfJoin, prefix: str) -> DataFrame | None:
    """One lookup in a small table, through the one interval that holds each row's time. Runs a job that reads it.

    None where the table has too many rows, or times too uneven for intervals.
    """
    as_of = join.as_of
    table = _distinct_rows(join)
    cut = None if table is None else cut_intervals(table, len(join.lookup.matches), as_of.lookback_micros)
    if cut is None:
        return None
    rows, first, last, width = cut
    names = [f"{prefix}_{name}" for name in rows.column_names]
    types = [*_columns_of(join).schema.fields, *(StructField(n, LongType()) for n in ("bucket", "from", "until"))]
    schema = StructType([StructField(name, field.dataType) for name, field in zip(names, types, strict=True)])
    intervals = spine.sparkSession.createDataFrame(rows.rename_columns(names), schema)
    micros = time_micros(quote(as_of.source), as_of.source_type)
    conditions = [
        *[f"{cast_sql(quote(m.source), m.cast)} = {prefix}_k{i}" for i, m in enumerate(join.lookup.matches)],
        f"(least({micros}, {last}L) - {first}L) div {width}L = {prefix}_bucket",
        f"{micros} >= {prefix}_from",
        f"{micros} < {prefix}_until",
    ]
    joined = spine.join(F.broadcast(intervals), F.expr(" AND ".join(conditions)), "left")
    own = [F.col(quote(column)) for column in spine.columns]
    return joined.select(*own, *[F.col(f"{prefix}_f{i}").alias(name) for i, name in enumerate(join.names)])


def is_small(join: AsOfJoin) -> bool:
    """Whether a feature table is known to be small, and its values go to the driver and back as they are."""
    columns = _columns_of(join)
    plan = analyzed(columns)
    plain = all(is_plain(field.dataType) for field in columns.schema.fields)
    return plan is not None and plain and takes_arrow_tables(columns) and estimated_bytes(plan) <= SMALL_BYTES


def _columns_of(join: AsOfJoin) -> DataFrame:
    """The findable rows' keys as ``k0``, their time as ``t``, and their features as ``f0``."""
    return join.findable().select(
        *[F.expr(sql).alias(f"k{i}") for i, sql in enumerate(join.row_keys)],
        F.expr(join.row_micros).alias("t"),
        *[F.col(quote(f.column)).alias(f"f{i}") for i, f in enumerate(join.lookup.features)],
    )


def _distinct_rows(join: AsOfJoin) -> pa.Table | None:
    """One row for each key and time, the greatest, in the order of keys and times; None where none or too many."""
    order = [*(f"k{i}" for i in range(len(join.lookup.matches))), "t"]
    rows = _columns_of(join)
    table = _sorted_rows(rows, order)
    if table is None or bool(_changes(table, len(order)).all()):
        return table
    # Equal times are rare. Spark, whose order decides, sorts them out in a read of its own.
    features = [F.col(f"f{i}").desc() for i in range(len(join.lookup.features))]
    numbered = rows.withColumn("n", F.row_number().over(Window.partitionBy(*order).orderBy(*features)))
    return _sorted_rows(numbered.where("n = 1").drop("n"), order)


def _sorted_rows(rows: DataFrame, order: Sequence[str]) -> pa.Table | None:
    table: Any = rows.limit(_MOST_ROWS + 1).toArrow()
    if not 0 < table.num_rows <= _MOST_ROWS:
        return None
    return table.sort_by([(name, "ascending") for name in order]).combine_chunks()


def cut_intervals(table: pa.Table, keys: int, age: int | None) -> tuple[pa.Table, int, int, int] | None:
    """Feature rows as intervals of validity, each once per time bucket that it touches.

    Args:
        table: columns ``k0..``, ``t`` (microseconds) and features, distinct in keys and time and sorted by them.
        keys: how many of the first columns are keys.
        age: how old a feature row may be, in microseconds, inclusive; None: any age.

    Returns:
        The rows with ``bucket``, ``from`` (inclusive) and ``until`` (exclusive); the first and last microsecond of
        the buckets, and their width. None where no width keeps both copies and intervals per bucket few: then
        times are too uneven.

    """
    times: NDArray[np.int64] = table.column("t").to_numpy()
    ends_key = np.append(_changes(table, keys), True)
    until = np.where(ends_key, _LAST, np.append(times[1:], _LAST))
    if age is not None:
        until = np.minimum(until, times + min(age + 1, _LAST - int(times.max())))
    first, last = int(times.min()), int(times.max())
    if age is not None:
        last = max(last, int(until.max()) - 1)
    group = np.append(0, np.cumsum(ends_key[:-1]))
    best: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
    for width in _widths(first, last):
        start = (times - first) // width
        end = (np.minimum(until - 1, last) - first) // width
        copies = end - start + 1
        if copies.sum() > _MOST_COPIES * len(times) + _MOST_CANDIDATES:
            break
        rows = np.repeat(np.arange(len(times)), copies)
        bucket = start[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        most = _most_alike(group[rows], bucket)
        if most <= _MOST_CANDIDATES:
            best = width, rows, bucket
        if most <= _FEW_CANDIDATES:
            break
    if best is None:
        return None
    width, rows, bucket = best
    cut = table.take(pa.array(rows))
    for name, values in (("bucket", bucket), ("from", times[rows]), ("until", until[rows])):
        cut = cut.append_column(name, pa.array(values, type=pa.int64()))
    return cut, first, last, width


def _changes(table: pa.Table, keys: int) -> NDArray[np.bool_]:
    """Whether each row but the first has another key than the one before."""
    changed = np.zeros(max(table.num_rows - 1, 0), dtype=bool)
    for i in range(keys):
        column = table.column(i).combine_chunks()
        differs = pc.not_equal(column[1:], column[:-1])
        changed |= np.asarray(differs.to_numpy(zero_copy_only=False), dtype=bool)
    return changed


def _widths(first: int, last: int) -> Iterator[int]:
    """Ever narrower buckets over a range of time."""
    width = last - first + 1
    while width >= 1:
        yield width
        if width == 1:
            return
        width = (width + 1) // 2


def _most_alike(group: NDArray[np.int64], bucket: NDArray[np.int64]) -> int:
    """The largest number of equal pairs."""
    order = np.lexsort((bucket, group))
    group, bucket = group[order], bucket[order]
    starts = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (bucket[1:] != bucket[:-1])))
    return int(np.diff(np.append(starts, len(group))).max())
