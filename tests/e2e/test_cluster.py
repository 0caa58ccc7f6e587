"""Executors in processes of their own: the model reaches them as an archive."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from tests.needs import PYTHON_PATH

if TYPE_CHECKING:
    from pathlib import Path

_USE = """
import sys
import spark_scoring as ss
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").getOrCreate()
table = spark.createDataFrame([(i, float(i)) for i in range(100)], "id int, x double").repartition(4)
for stage in ("udf", "map"):  # the second time the archive is there already
    scored = ss.score_batch(table, sys.argv[1], stage=stage)
    rows = scored.orderBy("id").collect()
    print(stage, len(rows), all(round(r.prediction - (2 * r.id + 1), 6) == 0 for r in rows))
"""


def test_a_model_reaches_the_executors_of_a_cluster(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    line = LinearRegression().fit(frame, [1.0, 3.0, 5.0])
    mlflow.sklearn.save_model(line, tmp_path / "line", signature=infer_signature(frame, line.predict(frame)))
    (tmp_path / "use.py").write_text(_USE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK"))}
    environment |= {"PYTHONPATH": PYTHON_PATH, "PYSPARK_PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "use.py", str(tmp_path / "line")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == ["udf 100 True", "map 100 True"]
