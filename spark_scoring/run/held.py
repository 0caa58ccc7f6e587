"""Rows kept on the executors, so that several jobs read them and none is scored twice."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession


def can_hold(spark: SparkSession) -> bool:
    """Whether the compute keeps rows."""
    try:
        spark.range(1).persist().unpersist()
    except PySparkException:  # serverless compute
        return False
    return True


@contextmanager
def held(frame: DataFrame, *, must: bool = False) -> Iterator[DataFrame]:
    """The frame, whose rows are kept inside. Where the compute keeps none, each job makes them anew.

    With ``must``, rows that cannot be kept fail the query instead.
    """
    if not must and not can_hold(frame.sparkSession):
        yield frame
        return
    kept = frame.persist()
    try:
        yield kept
    finally:
        kept.unpersist()
