"""What a task costs its Python worker beside its rows, against MLflow's own ``spark_udf``, as a ratio from one run.

``make bench``. Many partitions of a few rows, warm; CPU is that of the Python workers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812
from sklearn.linear_model import LinearRegression

import spark_scoring as ss
from benchmarks.cpu import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

TASKS = 20
ROUNDS = 3
_WORKERS = "pyspark.daemon"


def main() -> None:
    """Print CPU milliseconds of a task for each way, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        frame = pd.DataFrame({"x": np.arange(9.0)})
        line = LinearRegression().fit(frame, frame["x"])
        path = f"{folder}/line"
        mlflow.sklearn.save_model(line, path, signature=infer_signature(frame, line.predict(frame)))
        table = spark.range(0, 10 * TASKS, 1, TASKS).select(F.col("id").cast("double").alias("x"))
        udf = mlflow.pyfunc.spark_udf(spark, path, result_type="double", env_manager="local")
        ways: dict[str, Callable[[], DataFrame]] = {
            "spark_udf": lambda: table.withColumn("prediction", udf(F.struct("x"))),
            "ours": lambda: ss.score_batch(table, path),
        }
        for way in ways.values():
            _cpu(way)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                spent[name].append(_cpu(way) / TASKS * 1000)
        theirs, ours = median(spent["spark_udf"]), median(spent["ours"])
        print(f"{TASKS} tasks of 10 rows: spark_udf {theirs:.0f} ms of a worker's CPU a task, ours {ours:.0f} ms")
        print(f"ratio {theirs / ours:.1f}")
        spark.stop()


def _cpu(way: Callable[[], DataFrame]) -> float:
    """CPU seconds of the Python workers for one pass."""
    before = cpu_seconds(_WORKERS)
    way().write.format("noop").mode("overwrite").save()
    return cpu_seconds(_WORKERS) - before


if __name__ == "__main__":
    main()
