"""Models that misbehave at random: a right value, an error before a row is read, or just the raising rows bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.misbehaving import try_models
from tests.needs import in_short

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.mark.parametrize(("count", "scored", "refused"), in_short(1, [(60, 18, 8), (200, 60, 30)]))
def test_no_misbehaving_model_gives_a_wrong_value(
    spark: SparkSession, tmp_path: Path, count: int, scored: int, refused: int
) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        trial = try_models(spark, tmp_path, seed=1, count=count)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert trial.wrong == []
    assert trial.counts["scored"] > scored
    assert trial.counts["refused"] > refused
