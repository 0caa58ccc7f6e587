"""A model with packages of its own: with those of the session, isolated, and by ``spark_udf(env_manager="uv")``.

The ways take turns in one warm session; the numbers are seconds. ``spark_udf`` with an environment begins anew in every
task, so it is tried once; it needs uv. The labels that each way predicts add up to the same number, or this fails.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from importlib.metadata import version
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

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FEATURES = [f"f{i}" for i in range(30)]
PACKAGES = ("mlflow", "scikit-learn", "numpy", "pandas", "cloudpickle", "pyarrow")


def main() -> None:
    """Print the seconds of each way, and their ratio to those of the session's packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        table = written(spark, Path(folder, "table"), chosen.rows)
        model = saved(Path(folder, "model"))
        ours = {
            name: ss.score_batch(table, model, engine="python", environment=name) for name in ("session", "isolated")
        }
        right = {predicted(frame)[0] for frame in ours.values()}  # warm
        taken: dict[str, list[float]] = {name: [] for name in ours}
        for _ in range(chosen.rounds):
            for name, frame in ours.items():
                taken[name].append(predicted(frame)[1])
        udf = mlflow.pyfunc.spark_udf(spark, model, result_type="long", env_manager="uv")
        found, once = predicted(table.withColumn("prediction", udf(F.struct(*FEATURES))))
        taken["spark_udf"] = [once]
        if {*right, found} != {found}:
            msg = f"the predictions differ: {right}, {found}"
            raise SystemExit(msg)
        base = statistics.median(taken["session"])
        print(f"{chosen.rows:,} rows x {len(FEATURES)} features")
        for name, times in taken.items():
            told = ", ".join(f"{one:.1f}" for one in times)
            print(f"{name:10} {told} s; {statistics.median(times) / base:.2f} x of session")
        spark.stop()


def written(spark: SparkSession, path: Path, rows: int) -> DataFrame:
    """Doubles in a Delta table of four files."""
    values = [F.randn(i).alias(name) for i, name in enumerate(FEATURES)]
    spark.range(0, rows, 1, 4).select("id", *values).write.format("delta").save(str(path))
    return spark.read.format("delta").load(str(path))


def saved(path: Path) -> str:
    """A fitted model's folder; it requires what is installed here."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(5000, len(FEATURES))), columns=FEATURES)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, (frame["f0"] > frame["f4"]).astype(int))
    mlflow.sklearn.save_model(
        fitted,
        path,
        signature=infer_signature(frame, fitted.predict(frame)),
        serialization_format="cloudpickle",
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
    )
    return str(path)


def predicted(frame: DataFrame) -> tuple[int, float]:
    """The sum of the predictions, and the seconds that it took."""
    begin = time.perf_counter()
    [row] = frame.select(F.sum("prediction")).collect()
    return int(row[0]), time.perf_counter() - begin


if __name__ == "__main__":
    main()
