"""One plan and one result, whatever the session's settings are and however odd the names."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Array, DataType, Object, Property
from pyspark import SparkContext
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from spark_scoring import plan_scoring, score_batch
from spark_scoring.class_archive import archive_place
from tests.models import QUICKLY, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

SETTINGS = {
    "spark.sql.ansi.enabled": ("true", "false"),
    "spark.sql.session.timeZone": ("UTC", "America/New_York", "Asia/Kolkata"),
    "spark.sql.caseSensitive": ("false", "true"),
}
SESSIONS = [dict(zip(SETTINGS, values, strict=True)) for values in product(*SETTINGS.values())]

FEATURES = {
    "a.b": ("double", "CAST(id * 1.10 AS decimal(12,2))"),
    "with space": ("datetime", "timestamp_seconds(1762061400 + id * 1800)"),
    "back`tick": ("datetime", "TIMESTAMP_NTZ '2025-11-02 01:30:00' + make_interval(0, 0, 0, 0, 0, id)"),
    "Łódź ✈": ("string", "timestamp_seconds(1762061400 + id * 1800)"),
    "quo\"te's": ("long", "IF(id = 3, 'three', concat(' ', id, '.0'))"),
    "back\\slash": ("datetime", "concat('2025-11-0', 1 + id % 9, 'T01:30:00', IF(id % 2 = 0, '', '+05:30'))"),
    "CASE": ("boolean", "IF(id % 3 = 0, 'TRUE', 'false')"),
    "day": ("datetime", "DATE '2025-03-09'"),
    "$1": ("float", "CAST(id / 3 AS double)"),
    "list": (Array(DataType.float), "array(id, NULL, 0.1BD)"),
    "object": (
        Object([Property("a.b", DataType.datetime), Property("n", DataType.long)]),
        "named_struct('a.b', timestamp_seconds(1762061400), 'n', CAST(id AS string))",
    ),
}


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Says what it was given, types included."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        types = [str(t) for t in model_input.dtypes]
        return [repr(list(zip(types, row, strict=True))) for row in model_input.itertuples(index=False, name=None)]


@pytest.fixture
def session(spark: SparkSession) -> Iterator[SparkSession]:
    before = {name: spark.conf.get(name) for name in SETTINGS}
    yield spark
    for name, value in before.items():
        spark.conf.set(name, value or "")


def test_a_model_is_given_the_same_values_in_every_session(session: SparkSession, tmp_path: Path) -> None:
    inputs = Schema([ColSpec(type_, name) for name, (type_, _) in FEATURES.items()])
    signature = ModelSignature(inputs, Schema([ColSpec("string")]))
    path = str(tmp_path / "model")
    mlflow.pyfunc.save_model(path, python_model=Echo(), signature=signature, pip_requirements=["mlflow"])
    columns = [f"{sql} AS `{name.replace('`', '``')}`" for name, (_, sql) in FEATURES.items()]
    results = set()
    for settings in SESSIONS:
        for name, value in settings.items():
            session.conf.set(name, value)
        table = session.range(0, 12, numPartitions=2).selectExpr("id AS key", *columns)
        hashed = plan_scoring(path, table).hash
        scored = in_order(score_batch(table, path), "key")
        results.add((hashed, tuple((row["prediction"], row["scoring_error"]) for row in scored)))
    ((_, rows),) = results
    assert [error for _, error in rows if error] == ["quo\"te's: not a whole number in range"]
    assert "('datetime64[ns]', Timestamp('2025-11-02 05:30:00'))" in rows[0][0]
    assert "('object', '2025-11-02 05:30:00')" in rows[0][0]


ODD = ["a.b", "with space", "back`tick", "Łódź ✈", "SELECT", "a", "A b"]


@pytest.mark.parametrize("kind", ["lightgbm", "hist"])
def test_native_models_score_odd_names_alike(kind: str, session: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, len(ODD))), columns=ODD)
    frame["Łódź ✈"] = pd.Categorical(rng.choice(["ö.", "'", "`"], 80))
    label = (frame["a.b"] + frame["A b"] > 0).astype(int)
    model: Any = LGBMClassifier(n_estimators=5, verbose=-1) if kind == "lightgbm" else HistGradientBoostingClassifier()
    flavor = mlflow.lightgbm if kind == "lightgbm" else mlflow.sklearn
    model.fit(frame, label)
    example = frame.assign(**{"Łódź ✈": frame["Łódź ✈"].astype(object)})
    options = {"serialization_format": "cloudpickle"} if kind == "hist" else {}
    path = str(tmp_path / "model")
    flavor.save_model(
        model, path, signature=infer_signature(example, model.predict(frame)), pip_requirements=["mlflow"], **options
    )
    results = []
    for settings in (SESSIONS[0], SESSIONS[-1]):
        for name, value in settings.items():
            session.conf.set(name, value)
        table: DataFrame = session.createDataFrame(example.reset_index()).repartition(2)
        scored = in_order(score_batch(table, path, predict=["predict_proba"]), "index")
        results.append([row["probability"] for row in scored])
    assert results[0] == results[1] == model.predict_proba(frame).tolist()


def test_the_tests_own_session_starts_from_the_archive_of_its_classes(spark: SparkSession) -> None:
    """It is there where tools/setup.sh has prepared this Spark."""
    archive = archive_place()
    if not archive.is_file():
        pytest.skip("prepared for the Spark of .venv alone")
    process = SparkContext._gateway.proc.pid  # type: ignore[union-attr]  # noqa: SLF001
    assert str(archive.resolve()) in Path(f"/proc/{process}/maps").read_text()


def test_a_plan_says_when_the_session_shows_times_in_another_zone(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=30, freq="h"), "n": range(30)})
    model = make_pipeline(FunctionTransformer(_hours), LinearRegression()).fit(frame, frame["n"])
    path = str(tmp_path / "model")
    mlflow.sklearn.save_model(model, path, signature=infer_signature(frame, model.predict(frame)), **QUICKLY)
    table = spark.sql("SELECT id AS n, timestamp_seconds(1767225600 + id * 3600) AS at FROM range(30)")
    told = "the model is given the times of at in UTC, and this session shows them in Asia/Kolkata"
    try:
        for zone, is_told in {"Asia/Kolkata": True, "UTC": False, "Etc/UTC": False}.items():
            spark.conf.set("spark.sql.session.timeZone", zone)
            assert any(told in note for note in plan_scoring(path, table).notes) == is_told
            rows = in_order(score_batch(table, path), "n")
            assert [row["prediction"] for row in rows] == pytest.approx(model.predict(frame))
        spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
        days = table.selectExpr("n", "CAST(timestamp_seconds(1767225600 + n * 3600) AS timestamp_ntz) AS at")
        assert not any("Asia/Kolkata" in note for note in plan_scoring(path, days).notes)
        signature = ModelSignature(Schema([ColSpec(Array(DataType.datetime), "all")]), Schema([ColSpec("string")]))
        nested = str(tmp_path / "nested")
        mlflow.pyfunc.save_model(nested, python_model=Echo(), signature=signature, pip_requirements=["mlflow"])
        notes = plan_scoring(nested, table.selectExpr("array(at) AS all"), rehearse=False).notes
        assert any("the times of all in UTC, and this session shows them in Asia/Kolkata" in note for note in notes)
    finally:
        spark.conf.unset("spark.sql.session.timeZone")


def _hours(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(at=frame["at"].dt.hour)
