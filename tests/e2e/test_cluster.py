"""Executors in processes of their own: the model reaches them as an archive, this package as a zip."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from tests.models import QUICKLY
from tests.needs import PYTHON_PATH

if TYPE_CHECKING:
    from pathlib import Path

_FRAME = pd.DataFrame({"x": [float(i) for i in range(40)]})
_USE = """
import sys
import spark_scoring as ss
from pyspark.sql import SparkSession
from spark_scoring.delta.failures import explain_failure

line, forest, own, cluster, absent, other = sys.argv[1:]
builder = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false")
spark = builder.config("spark.task.maxFailures", "1").getOrCreate()
spark.sparkContext.setLogLevel("OFF")
table = spark.createDataFrame([(i, float(i)) for i in range(40)], "id int, x double").repartition(2)

def score(python, model, stage="udf", environment="session"):
    spark.sparkContext.pythonExec = python
    try:
        scored = ss.score_batch(table, model, stage=stage, engine="python", environment=environment)
        rows = scored.orderBy("id").collect()
    except Exception as error:
        [problem] = explain_failure(error, "out", "in").problems
        return f"{problem.thing}: {problem.cause} | {problem.fix}"
    return len(rows), all(round(r.prediction - (2 * r.id + 1), 6) == 0 for r in rows)

path = list(sys.path)
for stage in ("udf", "map"):  # the second time the archive is there already
    print("RESULT", stage, *score(cluster, line, stage))
assert sys.path == path
for _ in range(2):
    print("RESULT own", *score(cluster, own, environment="isolated"))
for python, model in ((absent, line), (other, line), (other, forest)):
    print("RESULT", score(python, model))
"""


@pytest.fixture
def cluster_python(tmp_path: Path) -> str:
    """An executor's Python: what is installed here, but for this package."""
    return _python(tmp_path / "cluster")


def _python(folder: Path) -> str:
    venv.create(folder, with_pip=False)
    (_packages(folder) / "installed_here.pth").write_text(sysconfig.get_paths()["purelib"])
    return str(folder / "bin" / "python")


def _packages(folder: Path) -> Path:
    [found] = folder.glob("lib/python*/site-packages")
    return found


def _other_python(folder: Path) -> str:
    """One with a scikit-learn of another major version, as far as its metadata goes, and a LightGBM that is broken."""
    python, packages = _python(folder), _packages(folder)
    metadata = packages / "scikit_learn-0.24.2.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: scikit-learn\nVersion: 0.24.2\n")
    (packages / "lightgbm.py").write_text("import of_its_own_that_is_missing\n")
    return python


def test_a_model_reaches_the_executors_of_a_cluster(tmp_path: Path, cluster_python: str) -> None:
    line = LinearRegression().fit(_FRAME, _FRAME["x"] * 2 + 1)
    signature = infer_signature(_FRAME, line.predict(_FRAME))
    required = ["scikit-learn==1.5.2", "pandas==1.5.3"]
    mlflow.sklearn.save_model(line, tmp_path / "line", signature=signature, **{**QUICKLY, "pip_requirements": required})
    forest = LGBMRegressor(n_estimators=2, verbose=-1).fit(_FRAME, _FRAME["x"])
    mlflow.lightgbm.save_model(forest, tmp_path / "forest", signature=signature, pip_requirements=["lightgbm==4.0.0"])
    own = {**QUICKLY, "pip_requirements": ["scikit-learn", "cloudpickle", "mlflow-skinny"]}
    mlflow.sklearn.save_model(line, tmp_path / "own", signature=signature, **own)
    (tmp_path / "use.py").write_text(_USE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK"))}
    environment |= {"PYTHONPATH": PYTHON_PATH, "PYSPARK_PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
    environment["SPARK_SCORING_CACHE"] = str(tmp_path / "cache")
    pythons = (cluster_python, "/no/such/python3", _other_python(tmp_path / "other"))
    models = [str(tmp_path / name) for name in ("line", "forest", "own")]
    command = [sys.executable, "use.py", *models, *pythons]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    shown = [line.partition("RESULT ")[2] for line in done.stdout.splitlines() if "RESULT " in line]
    assert shown[:2] == ["udf 40 True", "map 40 True"]
    assert [shown.pop(2) for _ in range(2)] == ["own 40 True"] * 2  # with packages that the driver has sent
    assert shown[2].startswith("Python worker: the executors cannot run /no/such/python3 as their Python; nothing was")
    assert "it requires scikit-learn==1.5.2, installed: 0.24.2" in shown[3]
    assert shown[3].endswith("| install it on the executors: pip install 'scikit-learn==1.5.2'")
    assert "there is no module of_its_own_that_is_missing; it requires lightgbm==4.0.0, installed:" in shown[4]
    assert shown[4].endswith("| install on the executors what it requires: pip install 'lightgbm==4.0.0'")
