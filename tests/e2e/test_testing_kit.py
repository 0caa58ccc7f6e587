"""What users test their own models with: right models pass, wrong ones fail and say where."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from pyspark.sql.types import DecimalType, IntegerType, LongType, StringType, StructType

from spark_scoring import PlanError
from spark_scoring.testing import assert_scores_like, table_of
from tests.needs import PYTHON_PATH

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

N = 60
X = pd.DataFrame(
    {
        "distance": np.arange(N, dtype="float64"),
        "carrier": pd.Categorical(["AA", "DL", None] * (N // 3)),
        "seats": pd.array([*range(N - 1), None], dtype="Int32"),
    },
    index=range(100, 100 + N),
)
Y = np.where(X["distance"] % 4 > 1, "late", "early")


@pytest.fixture(scope="module")
def fitted() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1).fit(X.astype({"seats": "float64"}), Y)


@pytest.fixture(scope="module")
def model(fitted: LGBMClassifier, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("kit") / "model")
    trained = X.astype({"seats": "float64", "carrier": object})
    signature = infer_signature(trained, Y)
    mlflow.lightgbm.save_model(fitted, path, signature=signature, pip_requirements=["lightgbm"])
    return path


def test_a_model_that_scores_as_where_it_was_trained_passes(
    fitted: LGBMClassifier, model: str, spark: SparkSession
) -> None:
    own = X.astype({"seats": "float64"})
    assert_scores_like(model, X, fitted.predict(own), spark=spark)
    assert_scores_like(model, X, fitted.predict_proba(own), spark=spark, method="predict_proba")
    types = StructType().add("distance", DecimalType(9, 2)).add("carrier", StringType()).add("seats", IntegerType())
    decimals = X.assign(distance=[Decimal(i) for i in range(N)])
    assert_scores_like(model, decimals, pd.Series(fitted.predict(own)), spark=spark, schema=types)


def test_what_is_otherwise_in_spark_fails_and_is_told(fitted: LGBMClassifier, model: str, spark: SparkSession) -> None:
    own = X.astype({"seats": "float64"})
    expected: list[Any] = list(fitted.predict(own))
    expected[7] = "later"
    with pytest.raises(AssertionError, match=rf"1 of {N} predictions differ in Spark: row 7: '\w+' and not 'later'"):
        assert_scores_like(model, X, expected, spark=spark)
    chances = fitted.predict_proba(own)
    chances[3, 1] += 0.001
    with pytest.raises(AssertionError, match=rf"1 of {N} predictions differ in Spark: row 3: "):
        assert_scores_like(model, X, chances, spark=spark, method="predict_proba")
    assert_scores_like(model, X, chances, spark=spark, method="predict_proba", rtol=0, atol=0.01)
    strange = X.assign(carrier=["AA", "XX", "DL"] * (N // 3))
    with pytest.raises(AssertionError, match=rf"20 of {N} rows cannot be scored: carrier: unknown level.* in 20"):
        assert_scores_like(model, strange, expected, spark=spark)
    with pytest.raises(AssertionError, match=rf"expected has 3 results, and there are {N} rows"):
        assert_scores_like(model, X, [1, 2, 3], spark=spark)
    with pytest.raises(PlanError, match="distance"):
        assert_scores_like(model, X.drop(columns="distance"), expected, spark=spark)


def test_a_table_has_the_values_of_its_frame(spark: SparkSession) -> None:
    day = dt.datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001  a wall clock's, which some zones do not have
    frame = pd.DataFrame(
        {
            "n": pd.array([2**53 + 1, None], dtype="Int64"),
            "x": [0.1, np.nan],
            "text": ["é", None],
            "level": pd.Categorical(["a", None]),
            "at": pd.to_datetime([day, None]),
            "flags": [[True, None], None],
        }
    )
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        table = table_of(frame, spark)
        rows = [tuple(row) for row in table.collect()]
    finally:
        spark.conf.unset("spark.sql.session.timeZone")
    assert rows == [(2**53 + 1, 0.1, "é", "a", day, [True, None]), (None,) * 6]
    types = [field.dataType.simpleString() for field in table.schema.fields]
    with pytest.raises(PlanError, match="column 'x': it holds values that are not BIGINT"):
        table_of(frame[["x"]], spark, schema=StructType().add("x", LongType()))
    assert types == ["bigint", "double", "string", "string", "timestamp_ntz", "array<boolean>"]


def test_the_fixtures_serve_a_test_as_the_page_has_it(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "test_tables.py").write_text(_TABLES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
    assert not (tmp_path / "spark-warehouse").exists()


_TABLES = """
import mlflow

def test_a_schema_is_there(scoring_spark, scoring_schema):
    scoring_spark.range(3).write.format("delta").saveAsTable(f"{scoring_schema}.rows")
    global kept
    kept = scoring_schema

def test_it_is_gone_with_its_test(scoring_spark, scoring_registry):
    assert not scoring_spark.catalog.databaseExists(kept)
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == scoring_registry
"""
