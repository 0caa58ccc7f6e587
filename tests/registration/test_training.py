"""Training jobs: a table's rows through the casts that score it, an estimator, a registered version."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from spark_scoring import RequestError, RunError, TrainingJob, run_training, score_batch, training_frame
from spark_scoring.cli import main
from spark_scoring.registration.search import what_it_says
from tests.models import TABLE, table_rows
from tests.models import training_frame as features

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

ROWS = 200
SCHEMA = "price decimal(12,2), age int, member boolean, carrier string, day date, at timestamp_ntz, tags array<double>"


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> Any:
    import datetime as dt

    day, at = dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12)  # noqa: DTZ001
    rows = [
        (Decimal("1.50"), 30, True, "UA", day, at, [1.0]),
        (None, None, None, None, None, None, [2.0]),
        (Decimal("2.25"), 40, False, "AA", day, at, [3.0]),
    ]
    return spark.createDataFrame(rows, SCHEMA).coalesce(1)


def test_types_by_default_hold_nulls(table: Any) -> None:
    frame = training_frame(table, ["price", "age", "member", "carrier", "day", "at"])
    assert {n: str(d) for n, d in frame.dtypes.items()} == {
        "price": "float64", "age": "float64", "member": "float64", "carrier": "object",
        "day": "datetime64[ns]", "at": "datetime64[ns]",
    }  # fmt: skip
    assert frame["price"].tolist()[::2] == [1.5, 2.25]
    assert frame["member"].tolist()[::2] == [1.0, 0.0]
    assert frame["at"][0] == pd.Timestamp("2026-01-31 12:00")
    assert frame.iloc[1].isna().all()


def test_types_can_be_named(table: Any) -> None:
    types = {"age": "integer", "member": "boolean", "carrier": "category", "half": "float"}
    frame = training_frame(table.where("age IS NOT NULL"), types, {"half": "age / 2"})
    assert {n: str(d) for n, d in frame.dtypes.items()} == {
        "age": "int32", "member": "bool", "carrier": "category", "half": "float32",
    }  # fmt: skip
    assert list(frame["carrier"].cat.categories) == ["AA", "UA"]
    assert frame["carrier"].tolist() == ["UA", "AA"]
    assert frame["half"].tolist() == [15.0, 20.0]


def test_levels_of_numbers_and_dates_keep_their_type(table: Any) -> None:
    frame = training_frame(table, {"age": "category", "day": "category"})
    assert frame["age"].cat.categories.tolist() == [30, 40]
    assert str(frame["day"].cat.categories[0]) == "2026-01-31"
    assert frame.iloc[1].isna().all()


def test_rows_that_a_type_cannot_hold_are_counted(table: Any) -> None:
    with pytest.raises(RequestError) as raised:
        training_frame(table, {"age": "integer", "member": "boolean"})
    text = str(raised.value)
    assert "feature 'age': 1 of 3 rows: null\n    fix: give it a type that holds them (double" in text
    assert "feature 'member': 1 of 3 rows: null" in text


def test_a_feature_whose_name_looks_like_a_reason_is_named_whole(table: Any) -> None:
    named = table.withColumnRenamed("age", 'a: null; "b').select('a: null; "b')
    with pytest.raises(RequestError, match="feature 'a: null; \"b': 1 of 3 rows: null"):
        training_frame(named, {'a: null; "b': "integer"})


@pytest.mark.parametrize(
    ("types", "columns", "expected"),
    [
        ({"prize": None}, {}, "feature 'prize': the table has no such column\n   fix: did you mean price"),
        ({"x": "double"}, {"x": "prize + 1"}, "columns: x: 'prize + 1' does not fit the source"),
        ({"price": "dubble"}, {}, "feature 'price': 'dubble' is not a type\n   fix: did you mean double"),
        ({"tags": None}, {}, "no type by default for array<double>"),
        ({"tags": "category"}, {}, "ARRAY values cannot be levels"),
        ({"day": "long"}, {}, "feature 'day' (long): no meaningful conversion from DATE"),
    ],
)
def test_what_is_told_of_a_wrong_feature(table: Any, types: Any, columns: Any, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        training_frame(table, types, columns)
    assert expected in str(raised.value)


@pytest.fixture(scope="module")
def fields(spark: SparkSession, registry: str) -> dict[str, Any]:
    """A training job that runs, over a Delta table."""
    frame, label = features(ROWS)
    rows = [(*row[:-1], f"{'late' if y else 'ok'}") for row, y in zip(table_rows(frame), label, strict=True)]
    spark.sql("CREATE SCHEMA IF NOT EXISTS training")
    spark.createDataFrame(rows, TABLE).write.format("delta").saveAsTable("training.orders")
    return {
        "name": "main.training.delay",
        "task": "binary_classification",
        "source": {"table": "main.training.orders", "where": "id >= 10"},
        "features": {"price": "double", "ratio": "double", "count": "integer", "share": {"sql": "ratio * 2"}},
        "label": "note = 'late'",
        "order_by": ["id"],
        "validation": "id >= 150",
        "estimator": "lightgbm:LGBMClassifier",
        "params": {"n_estimators": 5, "verbose": -1},
        "alias": "champion",
        "pip_requirements": ["lightgbm"],
        "tracking_uri": registry,
        "verify": "here",
    }


def test_a_job_trains_validates_and_registers(spark: SparkSession, fields: dict[str, Any]) -> None:
    registered = run_training(TrainingJob.from_dict(fields), spark)
    assert registered.aliases == (("champion", registered.version),)
    assert registered.inputs[2] == "count: integer"
    metrics = dict(registered.metrics)
    assert (metrics["training_rows"], metrics["validation_rows"]) == (140, 50)
    assert {"validation_accuracy", "validation_f1", "validation_log_loss", "validation_auc"} <= set(metrics)
    run = mlflow.get_run(registered.run_id)
    assert run.data.tags["training_data"] == "main.training.orders"
    assert run.data.params["n_estimators"] == "5"
    scored = score_batch(spark.table("training.orders"), registered.uri, columns={"share": "ratio * 2"})
    assert scored.where("scoring_error IS NOT NULL").isEmpty()


def test_a_regression_and_outliers(spark: SparkSession, fields: dict[str, Any]) -> None:
    estimators = {"label": "price", "source": {"table": "training.orders", "where": "price IS NOT NULL"}}
    regression = {**fields, **estimators, "task": "regression", "estimator": "lightgbm:LGBMRegressor"}
    metrics = dict(run_training(TrainingJob.from_dict(regression), spark).metrics)
    assert {"validation_rmse", "validation_mae", "validation_r2"} <= set(metrics)
    assert metrics["validation_rmse"] > 0
    outliers = {k: v for k, v in fields.items() if k not in ("label", "params")}
    outliers |= {"task": "anomaly_detection", "estimator": "sklearn.ensemble.IsolationForest", "features": ["count"]}
    registered = run_training(TrainingJob.from_dict({**outliers, "params": {"n_estimators": 5}}), spark)
    assert registered.outputs == ("prediction: long",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"estimator": "lightgbm:LGBMClasifier"}, "estimator lightgbm:LGBMClasifier"),
        ({"estimator": "no_such_package:x"}, "No module named 'no_such_package'"),
        ({"source": {"table": "main.training.order"}}, "did you mean main.training.orders"),
        ({"label": None}, "label: the task binary_classification has one"),
        ({"label": "price"}, "label: it is not a whole number of 64 bits in "),
        ({"label": "prize"}, "columns: label: 'prize' does not fit the source"),
        ({"label": "CAST(NULL AS INT)"}, "label: it is null in 190 rows"),
        ({"validation": "id"}, "validation: it is not a condition"),
        ({"order_by": ["idd"]}, "order_by idd"),
        ({"estimator": "lightgbm"}, "estimator lightgbm: it is not a class or function"),
        ({"estimator": "builtins:dict"}, "it gives a dict, which has no fit"),
        ({"params": {"n_estimators": 5, "cc": 1}, "estimator": "sklearn.svm:SVC"}, "unexpected keyword argument"),
        ({"validation": "true"}, "validation: it holds in every row"),
        ({"source": {"table": "training.orders", "where": "false"}}, "training rows: there are none"),
        (
            {"features": {"price": "double", "kind": {"sql": "map('a', 1)", "type": "category"}}},
            "MAP values cannot be levels",
        ),
        ({"name": "a/b", "alias": "latest"}, "model name 'a/b'"),
        ({"flavor": "sklear"}, "flavor 'sklear': MLflow has no such flavor"),
        ({"tracking_uri": "sqlite:////proc/no/mlflow.db"}, "tracking server: MLflow answered"),
    ],
)
def test_a_wrong_job_trains_nothing(spark: SparkSession, fields: Any, changes: Any, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**fields, **changes}), spark)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tsk": "regression"}, "tsk: there is no such field\n   fix: did you mean task?"),
        ({"features": {"a": {"slq": "b"}}}, "features.a.slq: there is no such field\n   fix: fields: sql, type"),
        ({"task": "regresion"}, "task: 'regresion' is not one of its values\n   fix: did you mean regression?"),
        ({"source": {"tabel": "x"}}, "source.tabel: there is no such field\n   fix: did you mean table?"),
    ],
)
def test_fields_are_checked_at_once(fields: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        TrainingJob.from_dict({**fields, **changes})
    assert expected in str(raised.value).replace("\n    fix", "\n   fix")


def test_a_fit_that_raises_is_told_without_its_values(spark: SparkSession, fields: dict[str, Any]) -> None:
    text = {**fields, "features": ["note"], "estimator": "sklearn.linear_model:LinearRegression", "params": {}}
    with pytest.raises(RunError, match="estimator LinearRegression: fit raised ValueError") as raised:
        run_training(TrainingJob.from_dict(text), spark)
    assert "late" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {"price": {"sql": "double(raise_error(note))"}}},
        {"features": {"price": {"sql": "CAST(note AS DOUBLE)", "type": "double"}}},
        {"features": {"price": {"sql": "CAST(note AS INT)", "type": "category"}}},
        {"order_by": ["assert_true(id < 0, note)"]},
    ],
)
def test_rows_that_spark_refuses_are_told_without_their_values(
    spark: SparkSession, fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Spark's own error came through, and its text has the value."""
    with pytest.raises(RequestError, match=r"rows to train on: Spark failed: \[[A-Z_]+\]") as raised:
        run_training(TrainingJob.from_dict({**fields, **changes}), spark)
    assert "late" not in str(raised.value)
    assert "'ok'" not in str(raised.value)


def test_what_mlflow_keeps_of_a_job_has_no_secret(spark: SparkSession, fields: dict[str, Any]) -> None:
    told = {"params": {**fields["params"], "access_token": "hunter2"}, "tags": {"password": "hunter2", "a": "b"}}
    registered = run_training(TrainingJob.from_dict({**fields, **told}), spark)
    run = mlflow.get_run(registered.run_id)
    version = mlflow.MlflowClient().get_model_version(registered.name, registered.version)
    kept = [run.data.params["access_token"], run.data.tags["password"], version.tags["password"]]
    assert kept == ["***"] * 3
    assert (run.data.params["n_estimators"], run.data.tags["a"], version.tags["a"]) == ("5", "b", "b")
    place = {"experiment": "elsewhere", "artifact_location": "s3://AKID:hunter2@bucket/x"}
    with pytest.raises(RequestError, match=r"artifact_location s3://\*\*\*@bucket/x: it holds a secret"):
        run_training(TrainingJob.from_dict({**fields, **place}), spark)


def test_a_constructor_that_raises_is_told_without_the_secret(spark: SparkSession, fields: dict[str, Any]) -> None:
    wrong = {"estimator": "builtins:int", "params": {"password": "hunter2"}}
    with pytest.raises(RequestError, match="'password' is an invalid keyword argument for int"):
        run_training(TrainingJob.from_dict({**fields, **wrong}), spark)
    assert (
        what_it_says(ValueError("no hunter2 here, 5"), {"password": "hunter2", "n": 5}) == "ValueError: no *** here, 5"
    )


def test_nothing_is_trained_before_the_request_is_right(
    spark: SparkSession, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightgbm

    def fit(*_: Any, **__: Any) -> None:
        pytest.fail("it was trained")

    monkeypatch.setattr(lightgbm.LGBMClassifier, "fit", fit)
    for changes in ({"alias": "v1"}, {"name": "a/b"}, {"flavor": "sklear"}):
        with pytest.raises(RequestError):
            run_training(TrainingJob.from_dict({**fields, **changes}), spark)


def test_the_command_line_trains(fields: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "train.yml"
    file.write_text(TrainingJob.from_dict({**fields, "name": "main.training.cli"}).to_yaml())
    with pytest.raises(SystemExit) as stopped:
        main(["register", str(file), "--json", "--set", "params.n_estimators=2"])
    assert not stopped.value.code
    registered = json.loads(capsys.readouterr().out)
    assert registered["uri"] == "models:/main.training.cli/1"
    assert mlflow.get_run(registered["run_id"]).data.params["n_estimators"] == "2"


def test_an_experiment_is_made_where_the_job_says(spark: SparkSession, fields: Any, tmp_path: Path) -> None:
    job = {**fields, "experiment": "own place", "artifact_location": str(tmp_path / "artifacts")}
    registered = run_training(TrainingJob.from_dict(job), spark)
    place = mlflow.MlflowClient().get_model_version_download_uri(registered.name, registered.version)
    assert str(tmp_path / "artifacts") in place
    assert not np.isnan(dict(registered.metrics)["validation_auc"])
