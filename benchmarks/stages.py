"""Rows per second of the two stages against MLflow's own ``spark_udf``, as ratios from one run.

``make bench``. One process, warm, the ways in turn; each writes its predictions to the noop sink, so that
the figures hold the scan, the casts, the way to Python and the model, and no storage.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812
from sklearn.linear_model import LogisticRegression

import spark_scoring as ss

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

ROWS = 1_000_000
FEATURES = 30
ROUNDS = 3


def main() -> None:
    """Print a line per model and way: median seconds, and the ratio to ``spark_udf``."""
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        table = write_table(spark, Path(folder, "table"))
        print(f"{ROWS:,} rows, {FEATURES} features from DECIMAL, BOOLEAN, INT, BIGINT and DOUBLE, {ROUNDS} rounds")
        for name, path in save_models(Path(folder)).items():
            compare(name, ways(spark, table, path))
        spark.stop()


def write_table(spark: SparkSession, path: Path) -> DataFrame:
    """A Delta table of ``f0``.. in five warehouse types, a key and two text columns that nobody scores."""
    types = ("decimal(12,2)", "boolean", "int", "bigint", "double")
    values = [
        ((F.rand(seed=i) * 2).cast("int") if types[i % 5] == "boolean" else F.rand(seed=i) * 1000)
        .cast(types[i % 5])
        .alias(f"f{i}")
        for i in range(FEATURES)
    ]
    texts = [F.concat(F.lit(f"text {i} "), F.col("id").cast("string")).alias(f"t{i}") for i in range(2)]
    spark.range(0, ROWS, 1, 4).select("id", *texts, *values).write.format("delta").save(str(path))
    return spark.read.format("delta").load(str(path))


def save_models(folder: Path) -> dict[str, str]:
    """A cheap and a dear model on doubles."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((5000, FEATURES)) * 1000, columns=[f"f{i}" for i in range(FEATURES)])
    label = (frame["f0"] + frame["f4"] > 1000).astype(int)  # noqa: PLR2004
    paths = {}
    for model in (LogisticRegression(max_iter=1000), LGBMClassifier(n_estimators=100, verbose=-1)):
        name = type(model).__name__
        fitted = model.fit(frame, label)
        paths[name] = str(folder / name)
        flavor = mlflow.lightgbm if name.startswith("LGBM") else mlflow.sklearn
        flavor.save_model(fitted, paths[name], signature=infer_signature(frame, fitted.predict(frame)))
    return paths


def ways(spark: SparkSession, table: DataFrame, path: str) -> dict[str, Callable[[], DataFrame]]:
    """The same table and model, three ways; ``spark_udf`` gets the casts that it cannot do itself."""
    cast = [F.col(f"f{i}").cast("double").alias(f"f{i}") for i in range(FEATURES)]

    def through_mlflow() -> DataFrame:
        udf = mlflow.pyfunc.spark_udf(spark, path, result_type="long", env_manager="local")
        typed = table.select("id", "t0", "t1", *cast)
        return typed.withColumn("prediction", udf(F.struct(*[f"f{i}" for i in range(FEATURES)])))

    return {
        "spark_udf": through_mlflow,
        "udf": lambda: ss.score_batch(table, path, engine="python"),
        "map": lambda: ss.score_batch(table, path, stage="map", engine="python"),
    }


def compare(model: str, candidates: dict[str, Callable[[], DataFrame]]) -> None:
    """Time the ways in turn after a warm-up, and print their medians."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(ROUNDS + 1):
        for name, make in candidates.items():
            begin = time.perf_counter()
            make().write.format("noop").mode("overwrite").save()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    base = statistics.median(seconds["spark_udf"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{model:20} {name:10} {middle:6.2f} s  {base / middle:5.2f} x spark_udf  {ROWS / middle:10,.0f} rows/s")


if __name__ == "__main__":
    main()
