"""Further forms of models from the wild: what is inside an estimator, ragged examples, times as parameters."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from sklearn.ensemble import BaggingRegressor, RandomTreesEmbedding
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

import spark_scoring as ss
from tests.models import in_order
from tests.wild import save_sklearn

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

NUMBERS = pd.DataFrame({"a": np.linspace(-90, 110, 60), "b": np.arange(60) % 7 * 10.0})
STEPS = {
    "one-hot": make_pipeline(SimpleImputer(), KBinsDiscretizer(3, quantile_method="linear")),
    "dense": KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear"),
    "trees": RandomTreesEmbedding(n_estimators=2, max_depth=2, random_state=0),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("policy", ["strict", "lenient"])
def test_numbers_that_a_model_puts_in_bins_are_scored(
    spark: SparkSession, tmp_path: Path, step: str, policy: Any
) -> None:
    model = BaggingRegressor(make_pipeline(STEPS[step], LinearRegression()), n_estimators=2, random_state=0)
    model.fit(NUMBERS, NUMBERS["a"] / 50)
    path = save_sklearn(tmp_path / "m", model, NUMBERS)
    numbered = [(i, *row) for i, row in enumerate(NUMBERS.to_numpy().tolist())]
    rows = in_order(ss.score_batch(spark.createDataFrame(numbered, "id int, a double, b double"), path, policy=policy))
    assert [row["scoring_error"] for row in rows] == [None] * len(NUMBERS)
    assert [row["prediction"] for row in rows] == pytest.approx(list(model.predict(NUMBERS)))


class Sums(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Adds up lists of any length."""

    def predict(self, model_input: list[list[int]]) -> list[int]:
        return [sum(row) for row in model_input]


def test_an_example_of_lists_of_several_lengths(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    mlflow.pyfunc.save_model(path, python_model=Sums(), input_example=[[1, 2], [3]], pip_requirements=["mlflow"])
    rows = spark.createDataFrame([(0, [1, 2]), (1, [5]), (2, [])], "id int, input array<bigint>")
    assert [row["prediction"] for row in in_order(ss.score_batch(rows, path))] == [3, 5, 0]


class Hours(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The hour of a parameter."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [pd.Timestamp(params["t"]).hour] * len(model_input)


@pytest.mark.parametrize(
    "time",
    [
        dt.datetime(2025, 5, 5, 7),  # noqa: DTZ001
        pd.Timestamp("2025-05-05 07:00"),
        np.datetime64("2025-05-05T07:00:00"),
        "2025-05-05T07:00:00",
    ],
    ids=lambda time: type(time).__name__,
)
def test_a_time_as_a_parameter(spark: SparkSession, tmp_path: Path, time: Any) -> None:
    signature = ModelSignature(
        Schema([ColSpec("double", "x")]),
        Schema([ColSpec("long", "prediction")]),
        ParamSchema([ParamSpec("t", "datetime", np.datetime64("2025-01-01T00:00:00"))]),
    )
    path = str(tmp_path / "m")
    mlflow.pyfunc.save_model(path, python_model=Hours(), signature=signature, pip_requirements=["mlflow"])
    rows = spark.createDataFrame([(0, 1.0)], "id int, x double")
    assert [row["prediction"] for row in ss.score_batch(rows, path, params={"t": time}).collect()] == [7]
