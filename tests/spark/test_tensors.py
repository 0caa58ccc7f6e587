"""Matrices, images and ML vectors from table to model: bound as the request says, checked for their shape."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from pyspark.ml.linalg import Vectors
from sklearn.ensemble import RandomForestClassifier

from spark_scoring import PlanError, plan_scoring, score_batch
from tests import needs
from tests.models import in_order

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

X = np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A model on a bare matrix, whose input has no name."""
    model = RandomForestClassifier(5, random_state=0).fit(X, X[:, 0] > 0)
    path = str(tmp_path_factory.mktemp("forest") / "model")
    mlflow.sklearn.save_model(
        model,
        path,
        signature=infer_signature(X, model.predict(X)),
        serialization_format="cloudpickle",
        pip_requirements=["mlflow"],
    )
    return model, path


@pytest.mark.parametrize("stage", ["udf", "map"])
def test_ml_vectors_dense_and_sparse_are_rows_of_a_matrix(
    stage: str, spark: SparkSession, forest: tuple[Any, str]
) -> None:
    model, path = forest
    rows: list[Any] = [
        (i, Vectors.dense(list(x)) if i % 2 else Vectors.sparse(3, list(enumerate(map(float, x)))))
        for i, x in enumerate(X)
    ]
    table = spark.createDataFrame([*rows, (50, Vectors.dense([1.0])), (51, None)], ["id", "features"])
    options: dict[str, Any] = {"columns": {"input": "features"}, "predict": ["predict_proba"], "stage": stage}
    scored = in_order(score_batch(table, path, **options))
    assert [row["probability"] for row in scored[:50]] == model.predict_proba(X).tolist()
    errors = [row["scoring_error"] for row in scored]
    assert errors == [None] * 50 + ["input: not 3 values of the tensor's type", "input: null"]


def test_an_unnamed_matrix_is_not_bound_by_guess(spark: SparkSession, forest: tuple[Any, str]) -> None:
    table = spark.createDataFrame([(1.0, 2.0, 3.0, [1.0, 2.0, 3.0])], "a double, b double, c double, d array<double>")
    with pytest.raises(PlanError, match=r'(?s)one unnamed array.*columns: \{input: "<array column>"\}.*of 3 columns'):
        plan_scoring(forest[1], table)


class Image(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Sums the first line of an image, and takes the mean of all of it."""

    def predict(self, context: Any, model_input: dict[str, Any], params: Any = None) -> Any:
        image = model_input["image"]
        assert (image.shape[1:], str(image.dtype)) == ((2, 2, 1), "uint8")
        return {"top": image[:, 0].sum(axis=(1, 2)).astype("int64"), "mean": image.reshape(len(image), -1).mean(axis=1)}


@pytest.mark.parametrize("column", ["array<int>", "array<array<array<int>>>"])
def test_images_are_flat_arrays_or_arrays_of_their_shape(column: str, spark: SparkSession, tmp_path: Path) -> None:
    outputs = Schema([TensorSpec(np.dtype("int64"), (-1,), "top"), TensorSpec(np.dtype("float64"), (-1,), "mean")])
    signature = ModelSignature(Schema([TensorSpec(np.dtype("uint8"), (-1, 2, 2, 1), "image")]), outputs)
    path = str(tmp_path / "model")
    mlflow.pyfunc.save_model(path, python_model=Image(), signature=signature, pip_requirements=["mlflow"])
    values = [[0, 1, 2, 3], [4, 5, 6, 255], [1, 2, 3], [1, 2, 3, 256], [1, 2, 3, -1], [1, 2, 3, None]]
    if column != "array<int>":
        values = [[[[v] for v in row[:2]], [[v] for v in row[2:]]] for row in values]  # type: ignore[misc]
    table = spark.createDataFrame(list(enumerate(values)), f"id int, image {column}")
    scored = in_order(score_batch(table, path))
    assert [row["prediction"] and row["prediction"].asDict() for row in scored] == [
        {"top": 1, "mean": 1.5},
        {"top": 9, "mean": 67.5},
        None,
        None,
        None,
        None,
    ]
    assert {row["scoring_error"] for row in scored[2:]} == {"image: not 4 values of the tensor's type"}


class Same(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Gives back its only feature."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input["x"]


@needs.variant
def test_variants_go_by_their_text(spark: SparkSession, tmp_path: Path) -> None:
    signature = ModelSignature(Schema([ColSpec("long", "x")]), Schema([ColSpec("long")]))
    path = str(tmp_path / "model")
    mlflow.pyfunc.save_model(path, python_model=Same(), signature=signature, pip_requirements=["mlflow"])
    values = {"9007199254740993": 2**53 + 1, '" 7.0"': 7, "1.5": None, "null": None, "{}": None, "true": None}
    rows = spark.createDataFrame(list(enumerate(values)), "id int, json string").selectExpr(
        "id", "parse_json(json) AS x"
    )
    scored = in_order(score_batch(rows, path))
    assert [row["prediction"] for row in scored] == list(values.values())
    wrong = "x: not a whole number in range"
    assert [row["scoring_error"] for row in scored] == [None, None, wrong, "x: null", wrong, wrong]
