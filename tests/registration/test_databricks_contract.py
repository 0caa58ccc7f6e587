"""Our calls against the real client's signatures, offline; ``make contract`` installs it and runs this.

``bind`` alone would not catch a typo, since most methods end in ``**kwargs``: each keyword must be a named parameter,
or one of those that are known to travel through ``**kwargs``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from spark_scoring import log_model_with_feature_engineering
from tests.registration.test_feature_engineering import CalledError, Recorder, TrainingSet

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

feature_engineering = pytest.importorskip(
    "databricks.feature_engineering", reason="databricks-feature-engineering is not installed: make contract"
)

THROUGH_KWARGS = {
    "log_model": {
        # Databricks reads it from its kwargs
        "output_schema",
        # of the flavor's save_model, to which the rest of the kwargs goes
        "signature", "input_example", "metadata", "pip_requirements", "skops_trusted_types", "serialization_format",
        "pyfunc_predict_fn",
    },
    "score_batch": {"prebuilt_env_uri"},
}  # fmt: skip


def unknown(method: str, call: dict[str, Any]) -> set[str]:
    """Keywords that the client has no parameter for; asserts that every required one is given."""
    parameters = inspect.signature(getattr(feature_engineering.FeatureEngineeringClient, method)).parameters
    named = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    required = {n for n in named if parameters[n].default is inspect.Parameter.empty}
    assert required <= set(call), required - set(call)
    return set(call) - named - THROUGH_KWARGS.get(method, set())


def recorded(spark: SparkSession, **settings: Any) -> dict[str, Any]:
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    training_set = TrainingSet(spark.createDataFrame([(1.0, 2.0, 3.0)], "a double, b double, late double"))
    model, call = LinearRegression().fit(X, [1.0, 2.0]), {}
    for requirements in ("pip_requirements", "extra_pip_requirements"):  # MLflow takes one of them at a time
        client, given = Recorder(), {requirements: ["scikit-learn"], **settings}
        with pytest.raises(CalledError):
            log_model_with_feature_engineering(
                client, model, X, training_set=training_set, name="main.ml.delay", **given
            )
        call |= client.calls[0]
    return call


def test_log_model(registry: str, spark: SparkSession) -> None:
    assert unknown("log_model", recorded(spark, task="regression")) == set()


def test_log_model_with_a_signature(registry: str, spark: SparkSession) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    call = recorded(spark, signature=infer_signature(X, [1.0, 2.0]), input_example=X.head(1))
    assert unknown("log_model", call) == set()


def test_a_typo_is_caught() -> None:
    call = {"model": 1, "artifact_path": "model", "flavor": 2, "infer_input_exampel": True}
    assert unknown("log_model", call) == {"infer_input_exampel"}
    with pytest.raises(AssertionError):
        unknown("log_model", {"model": 1, "artifact_path": "model"})
