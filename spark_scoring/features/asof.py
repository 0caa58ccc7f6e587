"""Point-in-time joins: each row's latest feature row at or before its time.

Two ways with one result. Both hold every row of the scored table once, whatever is in the feature tables.

- ``asof_sorting``: all tables with the same keys in one union, one shuffle and one sort, then a window that
  carries the latest row of each table forward. Streams, spills, and reads a hot key in one pass.
- ``asof_intervals``: a small table as intervals of validity, cut at the borders of time buckets and broadcast: the
  scored table is neither shuffled nor sorted.

A row's latest feature row counts, not the latest value of each column. Of rows with the same key and time the
greatest counts, by Spark's order of their values, so that the order of the input never matters. A null key or
time matches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.features.asof_intervals import by_intervals, is_small
from spark_scoring.features.asof_sorting import by_sorting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.features.asof_join import AsOfJoin


def latest_rows(spine: DataFrame, joins: Sequence[AsOfJoin], prefix: str) -> DataFrame:
    """The scored table with the features of several as-of lookups added; row count and columns stay.

    Runs a job for each small feature table, which reads it.

    Args:
        spine: the scored table; its column names are distinct.
        joins: the lookups.
        prefix: of internal column names; no column of any table begins so.

    """
    by_key: dict[tuple[object, ...], list[AsOfJoin]] = {}
    for join in joins:
        joined = by_intervals(spine, join, prefix) if is_small(join) else None
        if joined is None:
            by_key.setdefault(join.key, []).append(join)
        else:
            spine = joined
    for group in by_key.values():
        spine = by_sorting(spine, group, prefix)
    return spine
