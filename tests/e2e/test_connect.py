"""Spark Connect: the same runs where there is no JVM to reach into, only SQL and DataFrames."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.models import save_line
from tests.needs import PYTHON_PATH, in_short

if TYPE_CHECKING:
    from pathlib import Path

_START = """
import os
import socket
import subprocess
import sys
import mlflow
from pyspark.sql import SparkSession
from pyspark.sql.connect.client import DefaultChannelBuilder
import pyspark
import spark_scoring as ss
from spark_scoring.session import starts_jvm
from spark_scoring.spark_versions import delta_package

folder, model = sys.argv[1:]
with socket.create_server(("127.0.0.1", 0)) as free:  # its own port: another Connect of this machine is not in the way
    port = free.getsockname()[1]
DefaultChannelBuilder.default_port = staticmethod(lambda: port)
settings = {
    "spark.connect.grpc.binding.port": str(port),
    "spark.jars.packages": delta_package(pyspark.__version__),
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.warehouse.dir": f"{folder}/warehouse",
    "spark.ui.enabled": "false",
    "spark.python.authenticate.socketTimeout": "120s",  # a loaded machine starts Python late
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "2",
}
builder = SparkSession.builder.remote("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
assert not hasattr(spark, "_sc")
assert not starts_jvm()
table = spark.range(12).selectExpr("id", "CAST(id AS double) AS x", "IF(id = 3, NULL, id % 3) AS n")
table.write.format("delta").save(f"{folder}/in")

def run(output, **fields):
    place = {"path": f"{folder}/{output.pop('path')}", **output}
    job = {"model": model, "source": {"path": f"{folder}/in"}, "output": place, **fields}
    report = ss.run_job(ss.ScoringJob.from_dict(job))
    return report.rows_out, report.quarantined, report.skipped

mlflow.set_tracking_uri(f"sqlite:///{folder}/known_to_the_client.db")
logged = mlflow.pyfunc.load_model(model)
raw = logged.get_raw_model()
for name, kind in (("line", raw), ("sum", raw.regressor_)):
    mlflow.sklearn.log_model(
        kind, name="model", signature=logged.metadata.signature, registered_model_name=name,
        pip_requirements=["mlflow"], serialization_format="cloudpickle",
    )

def add(ids, n):
    new = spark.range(*ids).selectExpr("id", "CAST(id AS double) AS x", f"{n} AS n")
    new.write.format("delta").mode("append").save(f"{folder}/in")

spark.range(3).write.format("delta").save(f"{folder}/act")
spark.sql("DECLARE VARIABLE lim INT DEFAULT 2")
def picked(condition):
    source = {"path": f"{folder}/in", "where": condition}
    return run({"path": "w", "mode": "overwrite"}, source=source)[::2]

wanted = f"id < lim AND id IN (SELECT id FROM delta.`{folder}/act`)"

merge = {"path": "m", "mode": "merge", "key": ["id"]}
"""
_END = """
job = f"{{model: {model}, source: {{path: {folder}/in}}, output: {{path: {folder}/c}}, max_bad_rows: 3}}"
open("job.yml", "w").write(job)
command = [sys.executable, "-c", "from spark_scoring.cli import main; main()", "score", "job.yml"]
named = {k: v for k, v in os.environ.items() if k not in ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE")}
done = subprocess.run([*command, "--remote", f"sc://localhost:{port}"], env=named, capture_output=True, text=True)
told = [" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("rows ")]
print("command", done.returncode, told or done.stderr, spark.read.format("delta").load(f"{folder}/c").count())

newest = ss.run_history(f"{folder}/m")[0]
print("rollback", newest.rows_written, [step.way for step in ss.roll_back(f"{folder}/m", newest.run_id)])
spark.stop()
"""
_EACH_WAY = """
print("append", run({"path": "a"}))
print("merge", run({**merge}, bad_rows="quarantine"), run({**merge}, bad_rows="quarantine", columns={"x": "x + 1"}))
stream = {"model": "models:/line/1", "incremental": True, "max_bad_rows": 1}
print("incremental", run({"path": "i"}, **stream))
add((30, 32), "CAST(NULL AS bigint)")
try:
    run({"path": "i"}, **stream)
except ss.RunError as error:
    print("incremental", type(error).__name__, str(error).splitlines()[0])
print("identity", picked(wanted), picked(wanted))
spark.sql("SET VAR lim = 9")
print("identity", picked(wanted))
"""
_ALL = """
print("append", run({"path": "a"}), run({"path": "a"}), run({"path": "a"}, policy={"n": {"nulls": {"fill": 0}}}))
print("overwrite", run({"path": "o", "mode": "overwrite"}, max_bad_rows=1), run({"path": "o", "mode": "overwrite"}))
print("merge", run({**merge}, bad_rows="quarantine"), run({**merge}, bad_rows="quarantine", columns={"x": "x + 1"}))
stream = {"incremental": True, "max_bad_rows": 1}
print("incremental", run({"path": "i"}, **stream), run({"path": "i"}, **stream))
add((20, 23), "1L")
print("incremental", run({"path": "i"}, **stream))
add((30, 32), "CAST(NULL AS bigint)")
try:
    run({"path": "i"}, **stream)
except ss.RunError as error:
    print("incremental", type(error).__name__, str(error).splitlines()[0])
print("incremental", run({"path": "i"}, incremental=True), spark.read.format("delta").load(f"{folder}/i").count())

print("identity", picked(wanted), picked(wanted))
spark.sql("SET VAR lim = 9")
print("identity", picked(wanted))
spark.range(3, 5).write.format("delta").mode("append").save(f"{folder}/act")
print("identity", picked(wanted), picked(wanted), picked("rand(1) >= 0"), picked("rand(1) >= 0"))
of_registry = {"model": "models:/line/1", "incremental": True, "max_bad_rows": 3}
print("registry", run({"path": "r"}, **of_registry), run({"path": "r"}, **of_registry))
of_sums = {**of_registry, "model": "models:/sum/1"}
print("explained", run({"path": "e"}, explain={"top": 1, "codes": {"x": "R1", "n": "R2"}}, **of_sums))
"""
_TOO_MANY = "bad rows: 2 of 2 rows cannot be scored, max_bad_rows allows 1 rows (n: null in 2); nothing was committed"
_MERGED = "merge (11, 1, False) (11, 1, False)"
_REFUSED = f"incremental BadRowsError {_TOO_MANY}"
_TWICE = "identity (2, False) (2, True)"
_ROLLED_BACK = "rollback 11 ['restore', 'restore']"
SCRIPTS = {"each way": _EACH_WAY, "all": _ALL}
SAID = {
    "each way": [
        "append (12, 0, False)",
        _MERGED,
        "incremental (12, 0, False)",
        _REFUSED,
        _TWICE,
        "identity (3, False)",
        "command 0 ['rows 14 in, 14 out, 3 bad (21.4%)'] 14",
        _ROLLED_BACK,
    ],
    "all": [
        "append (12, 0, False) (12, 0, True) (12, 0, False)",
        "overwrite (12, 0, False) (12, 0, True)",
        _MERGED,
        "incremental (12, 0, False) (0, 0, True)",
        "incremental (3, 0, False)",
        _REFUSED,
        "incremental (2, 0, False) 17",
        _TWICE,
        "identity (3, False)",
        "identity (5, False) (5, True) (17, False) (17, False)",
        "registry (17, 0, False) (0, 0, True)",
        "explained (17, 0, False)",
        "command 0 ['rows 17 in, 17 out, 3 bad (17.6%)'] 17",
        _ROLLED_BACK,
    ],
}


@pytest.mark.parametrize("runs", in_short(1, SCRIPTS))
def test_runs_over_spark_connect(tmp_path: Path, runs: str) -> None:
    model = save_line(str(tmp_path / "line"))
    (tmp_path / "use.py").write_text(_START + SCRIPTS[runs] + _END)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK", "MLFLOW"))}
    environment |= {"PYTHONPATH": PYTHON_PATH, "PYSPARK_PYTHON": sys.executable}
    environment["SPARK_SCORING_CACHE"] = str(tmp_path / "cache")
    command = [sys.executable, "use.py", str(tmp_path), model]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    shown = [
        line
        for line in done.stdout.splitlines()
        if line.split(" ")[0]
        in ("append", "overwrite", "merge", "incremental", "identity", "registry", "explained", "command", "rollback")
    ]
    assert shown == SAID[runs]
