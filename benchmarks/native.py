"""A linear model scored by Spark's own expressions, in Python workers and by ``spark_udf``: CPU per million rows.

``make bench``. One process, warm, the ways in turn, to the noop sink with five kept columns. CPU is the JVM's and the
workers'. ``casts`` is what comes before any model: the scan, the casts, the checks and the arrays for the workers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spark_scoring as ss
from benchmarks.cpu import cpu_seconds
from spark_scoring.engine.columns import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession
    from sklearn.base import BaseEstimator

ROUNDS = 3
KEPT = ["id", *(f"t{i}" for i in range(4))]


def main() -> None:
    """Print CPU and time per million rows for each way, and the ratio to ``spark_udf``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="at 30 features; a tenth at 300")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        for features, n in ((30, rows), (300, rows // 10)):
            table = write_table(spark, Path(folder, f"table{features}"), features, n)
            for name, model in estimators().items():
                path = saved(model, features, Path(folder, f"{name}{features}"))
                print(f"{name}, {features} features, {n:,} rows, {ROUNDS} rounds")
                compare(ways(spark, table, path, features), n)
        spark.stop()


def write_table(spark: SparkSession, path: Path, features: int, rows: int) -> DataFrame:
    """Doubles, of which one in a thousand is null, and five columns that nobody scores."""
    values = [F.when(F.rand(i) > 0.001, F.randn(i)).alias(f"f{i}") for i in range(features)]  # noqa: PLR2004
    texts = [F.concat(F.lit(f"text {i} "), F.col("id").cast("string")).alias(f"t{i}") for i in range(4)]
    spark.range(0, rows, 1, 4).select("id", *texts, *values).write.format("delta").save(str(path))
    return spark.read.format("delta").load(str(path))


def estimators() -> dict[str, BaseEstimator]:
    """A model alone, and one behind a scaler."""
    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return {"LogisticRegression": LogisticRegression(max_iter=1000), "StandardScaler": scaled}


def saved(model: BaseEstimator, features: int, path: Path) -> str:
    """A fitted model's folder."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(5000, features)), columns=[f"f{i}" for i in range(features)])
    fitted = model.fit(frame, (frame["f0"] + frame["f4"] > 0).astype(int))
    signature = infer_signature(frame, fitted.predict(frame))
    mlflow.sklearn.save_model(fitted, path, signature=signature, serialization_format="cloudpickle")
    return str(path)


def ways(spark: SparkSession, table: DataFrame, path: str, features: int) -> dict[str, Callable[[], DataFrame]]:
    """The same table and model; ``spark_udf`` drops the rows with a null, on which it would fail."""
    names = [f"f{i}" for i in range(features)]
    plan = ss.plan_scoring(path, table)
    prepared = prepare(plan)
    lanes = [lane.column.alias(f"lane{i}") for i, lane in enumerate(prepared.lanes)]

    def through_mlflow() -> DataFrame:
        udf = mlflow.pyfunc.spark_udf(spark, path, result_type="long", env_manager="local")
        return table.dropna(subset=names).select(*KEPT, udf(F.struct(*names)).alias("prediction"))

    return {
        "scan": lambda: table.select(*KEPT, *names),
        "casts": lambda: table.select(*KEPT, *lanes, prepared.ok.alias("ok"), prepared.error.alias("error")),
        "native": lambda: ss.score_batch(table, path, engine="native").drop(*names),
        "python": lambda: ss.score_batch(table, path, engine="python").drop(*names),
        "spark_udf": through_mlflow,
    }


def compare(candidates: dict[str, Callable[[], DataFrame]], rows: int) -> None:
    """Run the ways in turn after a warm-up, and print their medians; all must score the same."""
    counts = {
        name: make().where("prediction = 1").count()
        for name, make in candidates.items()
        if name not in ("scan", "casts")
    }
    if len(set(counts.values())) > 1:
        msg = f"the ways differ: {counts}"
        raise AssertionError(msg)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for turn in range(ROUNDS + 1):
        for name, make in candidates.items():
            frame = make()
            cpu, begin = cpu_seconds(), time.perf_counter()
            frame.write.format("noop").mode("overwrite").save()
            if turn:
                spent[name].append((cpu_seconds() - cpu, time.perf_counter() - begin))
    middle = {
        name: [statistics.median(each) * 1e6 / rows for each in zip(*runs, strict=True)] for name, runs in spent.items()
    }
    for name, (cpu, wall) in middle.items():
        less = f"{middle['spark_udf'][0] / cpu:5.2f} x less CPU than spark_udf, {cpu / middle['casts'][0]:5.2f} x casts"
        print(f"  {name:<10} {cpu:7.2f} s CPU {wall:7.2f} s  {less}", flush=True)


if __name__ == "__main__":
    main()
