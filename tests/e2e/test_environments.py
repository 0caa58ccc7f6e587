"""Models that run with packages of their own: an older scikit-learn than the session's, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
import sklearn
from pyspark.sql import functions as F  # noqa: N812

import spark_scoring as ss
from spark_scoring.cli import main
from spark_scoring.engine.isolated.building import environment_of
from spark_scoring.model.registry import resolve_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

_OLD = "1.6.1"
_REQUIREMENTS = (f"scikit-learn=={_OLD}", "numpy==2.2.6", "pandas==2.2.3", "cloudpickle", "mlflow-skinny")
_TRAIN = """
import json, sys
packages, folder = sys.argv[1:]
import site
site.addsitedir(packages)
import mlflow, numpy as np, pandas as pd, sklearn
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

rng = np.random.default_rng(5)
n = 400
frame = pd.DataFrame({
    "distance": rng.normal(size=n), "seats": rng.integers(0, 300, n), "carrier": rng.choice(["AA", "DL", "WN"], n),
    "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
})
label = (frame.distance + (frame.carrier == "AA") > 0.3).astype(int)
dense = {"sparse_output" if sklearn.__version__ >= "1.2" else "sparse": False}
inner = make_column_transformer((OneHotEncoder(**dense), ["carrier"]), ("passthrough", ["distance", "seats"]))
model = make_pipeline(inner, HistGradientBoostingClassifier(max_iter=10)).fit(frame, label)
signature = infer_signature(frame.head().assign(distance=np.nan), model.predict(frame))
mlflow.sklearn.save_model(model, folder + "/model", signature=signature, input_example=frame.head(5),
                          serialization_format="cloudpickle", pip_requirements=json.loads(sys.stdin.read()))
frame["prediction"], frame["p"] = model.predict(frame), model.predict_proba(frame)[:, 1]
with open(folder + "/expected.json", "w") as file:  # Python writes every digit of a number
    json.dump({name: values.tolist() for name, values in frame.assign(day=frame.day.astype(str)).items()}, file)
print(sklearn.__version__)
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that an older scikit-learn has trained, and what it predicted there."""
    folder = tmp_path_factory.mktemp("old")
    assert _trained(folder, _REQUIREMENTS) == _OLD != sklearn.__version__
    return folder


def _trained(folder: Path, requirements: Sequence[str]) -> str:
    """The version of scikit-learn that has trained a model with these packages."""
    listed = folder / "listed"
    listed.mkdir()
    mlflow.pyfunc.save_model(str(listed / "model"), python_model=lambda x: x, pip_requirements=list(requirements))
    pinned = resolve_model(str(listed / "model"))
    packages = environment_of("the old model", pinned.part(Path(pinned.path))).folder
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TRAIN, packages, str(folder)],
        input=json.dumps(requirements),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def _table(spark: SparkSession, old: Path) -> tuple[DataFrame, pd.DataFrame]:
    expected = pd.DataFrame(json.loads((old / "expected.json").read_text()))
    expected["day"] = pd.to_datetime(expected["day"])
    rows = expected[["distance", "seats", "carrier", "day"]].assign(id=range(len(expected)))
    return spark.createDataFrame(rows).repartition(3), expected


@pytest.mark.parametrize("stage", ["udf", "map"])
def test_it_predicts_what_it_did_where_it_was_trained(spark: SparkSession, old: Path, stage: Any) -> None:
    table, expected = _table(spark, old)
    _hold(table, expected, old, stage)


def _hold(table: DataFrame, expected: pd.DataFrame, folder: Path, stage: Any) -> None:
    methods = ["predict", "predict_proba"]
    scored = ss.score_batch(table, str(folder / "model"), environment="isolated", predict=methods, stage=stage)
    found = scored.orderBy("id").toPandas()
    assert found["scoring_error"].isna().all()
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert [p[1] for p in found["probability"]] == expected["p"].tolist()  # to the bit


@pytest.mark.long
@pytest.mark.parametrize(
    "packages",
    [
        ["mlflow-skinny==1.30.1", "scikit-learn==1.1.3", "numpy==1.23.5", "pandas==1.5.3", "scipy==1.9.3"],
        ["mlflow-skinny==2.9.2", "scikit-learn==1.3.2", "numpy==1.26.4", "pandas==2.1.4", "pyarrow==14.0.2"],
        ["mlflow-skinny==2.22.1", "scikit-learn==1.5.2", "numpy==1.26.4", "pandas==2.2.2", "pyarrow==15.0.2"],
    ],
    ids=["of 2022", "of 2023", "of 2025"],
)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="these packages are for Python 3.11")
def test_a_model_of_another_year_predicts_what_it_did_then(
    spark: SparkSession, tmp_path: Path, packages: list[str]
) -> None:
    assert f"scikit-learn=={_trained(tmp_path, [*packages, 'cloudpickle'])}" in packages
    table, expected = _table(spark, tmp_path)
    _hold(table, expected, tmp_path, "udf")


def test_a_job_tells_which_packages_and_keeps_its_bad_rows(spark: SparkSession, old: Path, tmp_path: Path) -> None:
    table, expected = _table(spark, old)
    odd = table.withColumn("carrier", F.when(F.col("id") == 3, "ZZ").otherwise(F.col("carrier")))
    odd.write.format("delta").save(str(tmp_path / "in"))
    job = {
        "model": str(old / "model"),
        "source": {"path": str(tmp_path / "in")},
        "output": {"path": str(tmp_path / "out"), "keep": ["id"]},
        "environment": "isolated",
    }
    plan = ss.plan_job(job, spark)
    assert f"packages of its own: Python {sys.version_info[0]}.{sys.version_info[1]}, scikit-learn {_OLD}" in str(plan)
    assert not plan.scoring.model.differences
    report = ss.run_job(plan)
    assert (report.rows_in, report.bad_rows) == (len(expected), 1)
    rows = spark.read.format("delta").load(str(tmp_path / "out")).orderBy("id").toPandas()
    assert "carrier" in rows.loc[3, "scoring_error"]
    assert rows["prediction"].drop(3).tolist() == expected["prediction"].drop(3).tolist()
    assert ss.run_job(job, spark).skipped
    with pytest.raises(ss.RequestError, match=r"(?s)does not load in this environment.*environment: isolated"):
        ss.plan_job({**job, "environment": "session"}, spark)


def test_init_reads_a_model_that_does_not_load_with_the_session_s_packages(
    spark: SparkSession, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, _ = _table(spark, old)
    table.write.format("delta").save(str(tmp_path / "in"))
    words = ["init", str(old / "model"), str(tmp_path / "in"), "--file", str(tmp_path / "job.yml"), "--yes"]
    for more, status in (([], 2), (["--environment", "isolatd"], 2), (["--environment", "isolated"], 0)):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert (ended.value.code or 0) == status
    told = capsys.readouterr().err
    assert "environment: isolated" in told
    assert "did you mean isolated" in told
    job = ss.ScoringJob.from_yaml(tmp_path / "job.yml")
    assert job.environment == "isolated"
    assert ss.run_job(job, spark).bad_rows == 0


def test_auto_takes_its_own_packages_where_they_differ(spark: SparkSession, old: Path, line: str) -> None:
    table, _ = _table(spark, old)
    plan = ss.plan_scoring(str(old / "model"), table, environment="auto")
    assert plan.to_dict()["model"]["environment"]["library"] == f"scikit-learn {_OLD}"
    place = spark.createDataFrame([(1, 1.0)], "n bigint, x double")
    assert ss.plan_scoring(line, place, environment="auto").model.environment is None


@pytest.mark.long  # files of half a gigabyte
def test_a_pack_brings_the_packages_along(
    spark: SparkSession, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "packs" / "old.zip"
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(old / "model"), "--to", str(pack)])
    assert ended.value.code in (0, None)
    assert str(pack) in capsys.readouterr().out
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "another machine"))
    monkeypatch.setenv("PATH", "")  # nothing is installed there
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    table, expected = _table(spark, old)
    scored = ss.score_batch(table, str(old / "model"), environment=str(pack)).orderBy("id").toPandas()
    assert scored["prediction"].tolist() == expected["prediction"].tolist()


def test_a_pack_of_another_model_or_of_nothing_is_refused(
    spark: SparkSession, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = _table(spark, old)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("environment.json", json.dumps({"python": "3.1", "platform": "moon", "constraints": []}))
    (tmp_path / "text.zip").write_text("no zip")
    cases = {
        "other.zip": "made for another model or machine: python and platform and requirements differ",
        "text.zip": "it is not a pack",
        "absent.zip": "No such file",
    }
    for name, cause in cases.items():
        with pytest.raises(ss.IsolationError, match=cause):
            ss.plan_scoring(str(old / "model"), table, environment=str(tmp_path / name))
    monkeypatch.setenv("SPARK_SCORING_ALLOW_MODELS", "*")
    with pytest.raises(ss.IsolationError, match="a pack may hold any code"):
        ss.plan_scoring(str(old / "model"), table, environment=str(tmp_path / "other.zip"))


@pytest.mark.long
def test_constraints_hold_and_another_set_of_them_is_another_environment(spark: SparkSession, tmp_path: Path) -> None:
    table = spark.createDataFrame([(1.0,)], "x double")
    keys = set()
    for numpy in ("2.2.6", "2.2.5"):
        (file := tmp_path / "constraints.txt").write_text(f"numpy=={numpy}\n")
        wanted = ["numpy", "pandas", "cloudpickle", "mlflow-skinny", f"-c {file}"]
        plan = ss.plan_scoring(_save(tmp_path / numpy, wanted), table, environment="isolated")
        found = plan.model.environment
        assert found is not None
        assert [p.version for p in distributions(name="numpy", path=[found.folder])] == [numpy]
        keys.add(found.key)
    assert len(keys) == 2


def test_what_cannot_be_installed_is_told_in_the_installers_words(spark: SparkSession, tmp_path: Path) -> None:
    for name, requirements in {"broken": ["scikit-learn==0.0.0"], "none": []}.items():
        _save(tmp_path / name, requirements)
    (tmp_path / "none" / "requirements.txt").write_text("")
    table = spark.createDataFrame([(1.0,)], "x double")
    with pytest.raises(ss.IsolationError, match=r"cannot be installed; pip says: .*scikit-learn==0\.0\.0"):
        ss.plan_scoring(str(tmp_path / "broken"), table, environment="isolated")
    with pytest.raises(ss.IsolationError, match="has no requirements"):
        ss.plan_scoring(str(tmp_path / "none"), table, environment="isolated")
    with pytest.raises(ss.RequestError, match="did you mean isolated"):
        ss.plan_scoring(str(tmp_path / "none"), table, environment="isolatd")
    with pytest.raises(ss.RequestError, match="environment of its own"):
        ss.plan_scoring(_save(tmp_path / "why"), table, environment="isolated", explain=True)


_PLAIN = """
import os
import signal
import sys

import mlflow

class Plain(mlflow.pyfunc.PythonModel):
    # Doubles; is noisy, raises or ends its process, by the row's value.
    def predict(self, context, model_input, params=None):
        values = model_input["x"].to_numpy()
        print("x" * 200_000)  # more than a pipe holds
        sys.stderr.write("y" * 200_000)
        if (values == 13).any():
            raise ValueError("a secret of row 13")
        if (values == -1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (values == -2).any():
            sys.exit(3)
        return values * 2

mlflow.models.set_model(Plain())
"""


def _save(folder: Path, requirements: list[str] | None = None) -> str:
    (code := folder.parent / "plain.py").write_text(_PLAIN)
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(code),
        signature=mlflow.models.infer_signature(frame, frame["x"]),
        pip_requirements=list(_REQUIREMENTS) if requirements is None else requirements,
    )
    return str(folder)


@pytest.fixture
def plain(tmp_path: Path) -> str:
    return _save(tmp_path / "plain")


def test_bad_rows_are_those_on_which_it_raises(
    spark: SparkSession, plain: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = spark.createDataFrame([(float(i),) for i in range(40)], "x double").repartition(2)
    scored = ss.score_batch(table, plain, environment="isolated", show_model_error=True)
    rows = {row.x: row for row in scored.collect()}
    assert [x for x, row in rows.items() if row.scoring_error] == [13.0]
    assert rows[13.0].scoring_error.startswith("model: ValueError (plain.py line")
    assert all(row.prediction == 2 * x for x, row in rows.items() if x != 13)
    assert "a secret of row 13" in caplog.text


@pytest.mark.parametrize(("value", "cause"), [(-1.0, "SIGKILL"), (-2.0, "exit|end")])
def test_a_process_that_ends_fails_the_run_and_leaves_nothing(
    spark: SparkSession, plain: str, tmp_path: Path, value: float, cause: str
) -> None:
    rows = [(float(i),) for i in range(20)] + [(value,)]
    spark.createDataFrame(rows, "x double").coalesce(1).write.format("delta").save(str(tmp_path / "in"))
    job = {
        "model": plain,
        "source": {"path": str(tmp_path / "in")},
        "output": {"path": str(tmp_path / "out")},
        "environment": "isolated",
        "rehearse": False,
    }
    if value == -1.0:
        with pytest.raises(ss.RunError, match=f"{cause}.*nothing was committed"):
            ss.run_job(job, spark)
        assert not (tmp_path / "out" / "_delta_log").exists()
        return
    report = ss.run_job(job, spark)  # what exits on one row raises on it
    assert report.bad_rows == 2  # it raises on 13


def test_no_process_outlives_the_one_that_started_it(plain: str, tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from spark_scoring.engine.isolated.planned import own_environment
from spark_scoring.engine.isolated.process import process_of
from spark_scoring.model.registry import resolve_model

pinned = resolve_model(sys.argv[1])
part = pinned.part(Path(pinned.path))
process = process_of(part, own_environment(pinned))
process.ask("load", part)
print(process._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, plain],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == -9, done.stderr
    [number] = done.stdout.split()[-1:]
    for _ in range(100):
        if not Path(f"/proc/{number}").exists() or "Z" in Path(f"/proc/{number}/stat").read_text().split()[2]:
            return
        import time

        time.sleep(0.1)
    pytest.fail(f"process {number} goes on")
