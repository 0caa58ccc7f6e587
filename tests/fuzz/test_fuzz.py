"""A short run of ``make fuzz``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.cases import fuzz

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def test_odd_requests_end_in_an_error_of_ours_or_keep_every_row(spark: SparkSession, tmp_path: Path) -> None:
    counts = fuzz(spark, tmp_path, start=1, count=25, models=3, shrink=False)
    assert counts["refused"] > 0
    assert counts["scored"] > 0
