"""Models with feature lookups, registered through the local client and scored from keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import mlflow
import numpy as np
import pytest

from spark_scoring import (
    FeatureLookup,
    LocalFeatureClient,
    RegistrationError,
    TrainingJob,
    VerificationError,
    check_model,
    log_model_with_feature_engineering,
    measure_drift,
    register_model,
    run_training,
    score_batch,
)
from tests.models import frame_in_order

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

ROWS = 80
LOOKUPS = [FeatureLookup(table_name="main.looked.planes", lookup_key="tailnum", feature_names=["seats", "age"])]
NAME = "main.looked.delay"


@pytest.fixture(scope="module")
def client(spark: SparkSession, registry: str) -> LocalFeatureClient:
    spark.sql("CREATE SCHEMA IF NOT EXISTS looked")
    client = LocalFeatureClient()
    planes = spark.range(20).selectExpr(
        "concat('N', id) tailnum", "CAST(id * 10 AS DOUBLE) seats", "CAST(id AS DOUBLE) age"
    )
    client.create_table(name="main.looked.planes", primary_keys="tailnum", df=planes)
    return client


@pytest.fixture(scope="module")
def flights(spark: SparkSession) -> DataFrame:
    columns = ["id", "concat('N', id % 20) tailnum", "CAST(id AS DOUBLE) distance", "CAST(id % 7 AS DOUBLE) late"]
    return spark.range(ROWS).selectExpr(*columns).coalesce(1)


@pytest.fixture(scope="module")
def training_set(client: LocalFeatureClient, flights: DataFrame) -> Any:
    return client.create_training_set(
        df=flights, feature_lookups=LOOKUPS, label="late", exclude_columns=["id", "tailnum"]
    )


@pytest.fixture(scope="module")
def frame(training_set: Any) -> pd.DataFrame:
    return training_set.load_df().toPandas()


def fitted(frame: pd.DataFrame) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, min_child_samples=5).fit(
        frame.drop(columns="late"), frame["late"]
    )


def test_a_model_with_lookups_is_registered_and_scored_from_keys(
    client: LocalFeatureClient, training_set: Any, frame: pd.DataFrame, flights: DataFrame, tmp_path: Path
) -> None:
    model, X = fitted(frame), frame.drop(columns="late")
    registered = log_model_with_feature_engineering(
        client, model, X, training_set=training_set, name=NAME, task="regression", alias="champion",
        project="air", domain="ops", use_case="delays", training_data="main.gold.flights",
        metrics={"rmse": 0.5}, params={"trees": 5}, pip_requirements=["lightgbm"],
    )  # fmt: skip
    assert (registered.uri, registered.aliases) == (f"models:/{NAME}/1", (("champion", "1"),))
    assert dict(registered.metrics) == {"rmse": 0.5}
    run = mlflow.get_run(registered.run_id)
    version = mlflow.MlflowClient().get_model_version(NAME, "1")
    expected = {
        "project": "air", "domain": "ops", "model_name": "delay", "model_type": "regression",
        "algorithm": "LGBMRegressor", "layer": "ml", "use_case": "delays", "feature_engineering": "local",
        "training_data": "main.gold.flights",
    }  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    assert expected.items() <= version.tags.items()
    keys = flights.select("id", "tailnum", "distance")
    scored = frame_in_order(score_batch(keys, f"models:/{NAME}@champion"))
    np.testing.assert_allclose(scored["prediction"], model.predict(X), rtol=1e-12)
    assert {f.code for f in check_model(registered.uri).findings if f.severity == "error"} == set()
    keys.write.format("delta").save(str(tmp_path / "keys"))
    drift = measure_drift({"model": registered.uri, "source": str(tmp_path / "keys"), "output": str(tmp_path / "out")})
    assert {f.feature: f.psi for f in drift.features} == pytest.approx({"distance": 0.0, "seats": 0.0, "age": 0.0})
    assert drift.rows == drift.training_rows == ROWS


def test_a_training_job_with_lookups(spark: SparkSession, client: LocalFeatureClient, registry: str) -> None:
    columns = ["id", "concat('N', id % 20) tailnum", "CAST(id AS DECIMAL(9,1)) distance", "id % 7 late"]
    spark.range(ROWS).selectExpr(*columns).write.format("delta").saveAsTable("looked.departures")
    job = {
        "name": "main.looked.job", "task": "regression", "source": {"table": "main.looked.departures"},
        "features": {"distance": "double", "half": {"sql": "distance / 2"}, "seats": "double", "age": "float"},
        "lookups": [{"table": "main.looked.planes", "key": "tailnum", "features": ["seats", "age"]}],
        "label": "late", "order_by": ["id"], "validation": "id >= 70", "estimator": "lightgbm:LGBMRegressor",
        "params": {"n_estimators": 5, "verbose": -1, "min_child_samples": 5}, "pip_requirements": ["lightgbm"],
        "alias": "champion", "tags": {"domain": "ops"}, "verify": "here",
    }  # fmt: skip
    registered = run_training(TrainingJob.from_dict(job), spark)
    assert dict(registered.metrics)["training_rows"] == 70
    tags = mlflow.MlflowClient().get_model_version("main.looked.job", "1").tags
    assert (tags["training_data"], tags["domain"], tags["layer"]) == ("main.looked.departures", "ops", "ml")
    keys = spark.table("looked.departures").select("id", "tailnum", "distance")
    scored = score_batch(keys, "models:/main.looked.job@champion", columns={"half": "distance / 2"})
    assert scored.where("scoring_error IS NOT NULL OR prediction IS NULL").isEmpty()
    reordered = TrainingJob.from_dict({**job, "features": {"seats": "double", "distance": "double", "age": "float"}})
    with pytest.raises(RegistrationError, match="in another order"):
        run_training(reordered, spark)


def test_the_alternative_signature_goes_the_same_way(
    client: LocalFeatureClient, training_set: Any, frame: pd.DataFrame, flights: DataFrame
) -> None:
    model, X = fitted(frame), frame.drop(columns="late")
    signature = mlflow.models.infer_signature(X, model.predict(X))
    registered = log_model_with_feature_engineering(
        client, model, X, training_set=training_set, name="main.looked.signed", signature=signature,
        input_example=X.head(3), pip_requirements=["lightgbm"], verify="here",
    )  # fmt: skip
    assert (registered.task, registered.outputs) == (None, ("input: float64 (-1,)",))
    scored = frame_in_order(score_batch(flights.select("id", "tailnum", "distance"), registered.uri))
    np.testing.assert_allclose(scored["prediction"], model.predict(X), rtol=1e-12)


def test_logging_such_a_model_by_its_flavor_is_refused(training_set: Any, frame: pd.DataFrame) -> None:
    with pytest.raises(RegistrationError, match=r"looked up in main\.looked\.planes, which a model logged"):
        register_model(
            fitted(frame), frame.drop(columns="late"), name="main.looked.never", task="regression",
            training_set=training_set,
        )  # fmt: skip


def test_another_order_of_the_columns_is_refused(
    client: LocalFeatureClient, training_set: Any, frame: pd.DataFrame
) -> None:
    reordered = frame[["seats", "age", "distance", "late"]]
    with pytest.raises(RegistrationError, match="in another order: distance, seats, age, and they reach the model"):
        log_model_with_feature_engineering(
            client, fitted(reordered), reordered.drop(columns="late"), training_set=training_set,
            name="main.looked.never", task="regression",
        )  # fmt: skip


def test_a_client_that_logs_another_model_makes_no_version(
    client: LocalFeatureClient, training_set: Any, frame: pd.DataFrame
) -> None:
    class Swapping:
        def log_model(self, **call: Any) -> Any:
            other = lightgbm.LGBMRegressor(n_estimators=1, verbose=-1).fit(frame.drop(columns="late"), frame["age"])
            return client.log_model(**{**call, "model": other})

    with pytest.raises(VerificationError, match="it predicts other values than in memory"):
        log_model_with_feature_engineering(
            Swapping(), fitted(frame), frame.drop(columns="late"), training_set=training_set,
            name="main.looked.swapped", task="regression", pip_requirements=["lightgbm"], verify="here",
        )  # fmt: skip
    assert mlflow.MlflowClient().search_registered_models("name = 'main.looked.swapped'") == []
