"""Models that misbehave at random: a right value, an error before a row is read, or just the raising rows bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.misbehaving import try_models

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def test_no_misbehaving_model_gives_a_wrong_value(spark: SparkSession, tmp_path: Path) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        trial = try_models(spark, tmp_path, seed=1, count=200)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert trial.wrong == []
    assert trial.counts["scored"] > 60
    assert trial.counts["refused"] > 30
