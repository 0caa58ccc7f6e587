"""Predictions over a warehouse's types equal ``mlflow.pyfunc`` on right-typed pandas, under both stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import mlflow
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_scoring import score_batch
from tests.models import TABLE, frame_in_order, register, table_rows, training_frame

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

MODELS = {
    "logistic": (lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), mlflow.sklearn),
    "forest": (lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(30, n_jobs=-1)), mlflow.sklearn),
    "lightgbm": (lambda: lightgbm.LGBMClassifier(n_estimators=30, verbose=-1), mlflow.lightgbm),
    "xgboost": (lambda: xgboost.XGBClassifier(n_estimators=30), mlflow.xgboost),
}
BAD = {3: "total", 400: "count", 401: "member"}
"""Rows that lack a value which their feature's type cannot do without."""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_frame(3000)[0]


@pytest.fixture(scope="module")
def table(spark: SparkSession, frame: pd.DataFrame) -> DataFrame:
    columns = ["id", *frame.columns, "note"]
    rows = table_rows(frame)
    for i, name in BAD.items():
        rows[i] = tuple(None if column == name else value for column, value in zip(columns, rows[i], strict=True))
    return spark.createDataFrame(rows, TABLE).repartition(3).cache()


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, registry: str, frame: pd.DataFrame) -> tuple[str, str]:
    build, flavor = MODELS[request.param]
    fitted = build().fit(frame, training_frame(3000)[1])
    return request.param, register(fitted, frame, f"main.parity.{request.param}", flavor)


@pytest.mark.parametrize("stage", ["udf", "map"])
def test_predictions_equal_pyfunc_on_right_typed_pandas(
    stage: Any, model: tuple[str, str], table: DataFrame, frame: pd.DataFrame
) -> None:
    kind, uri = model
    scored = frame_in_order(score_batch(table, uri, predict=["predict", "predict_proba"], stage=stage))
    good = ~scored["id"].isin(BAD)
    expected = mlflow.pyfunc.load_model(uri)
    assert scored["prediction"][good].astype("int64").tolist() == expected.predict(frame[good.to_numpy()]).tolist()
    probability = np.stack(scored["probability"][good])
    native = expected.get_raw_model().predict_proba(frame[good.to_numpy()]).astype("float64")
    tolerance = 1e-12 if kind == "logistic" else 0  # BLAS sums in another order for another batch shape
    np.testing.assert_allclose(probability, native, rtol=tolerance, atol=0)
    assert scored["prediction"][~good].isna().all()
    assert scored["scoring_error"][~good].tolist() == [f"{name}: null" for name in BAD.values()]
    assert scored["scoring_error"][good].isna().all()
    assert scored["note"].tolist() == [f"row {i}" for i in range(len(frame))]


def test_a_map_stage_brings_columns_back_as_they_went(spark: SparkSession, model: tuple[str, str]) -> None:
    """A BIGINT above 2^53 beside a null, an instant in a repeated hour: both change on a way through pandas."""
    rows = table_rows(training_frame(3)[0])
    table = spark.createDataFrame(rows, TABLE).selectExpr(
        "*",
        "IF(id = 0, NULL, 9007199254740993L + id) AS big",
        "IF(id = 0, NULL, timestamp_seconds(1383454800 + 3600 * id)) AS at",
    )
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        scored = score_batch(table, model[1], stage="map").selectExpr("id", "big", "unix_seconds(at) AS at")
        got = {row["id"]: (row["big"], row["at"]) for row in scored.collect()}
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
    assert got == {
        0: (None, None),
        1: (9007199254740994, 1383458400),
        2: (9007199254740995, 1383462000),
    }
