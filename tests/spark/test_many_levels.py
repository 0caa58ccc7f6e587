"""A category feature with a hundred thousand levels: looked up by a broadcast join, no row lost, doubled or moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from spark_scoring import FeaturePolicy, Fill, score_batch
from tests.models import in_order
from tests.needs import in_short

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

LEVELS = 100_000
ROWS = 5_000


@pytest.mark.parametrize("stage", in_short(1, ["udf", "map"]))
def test_a_hundred_thousand_levels_score_as_the_native_model_does(
    stage: str, spark: SparkSession, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    names = [f"item {i:06}" for i in rng.permutation(LEVELS)]
    frame = pd.DataFrame({"item": pd.Categorical(rng.choice(names, ROWS), categories=names), "x": rng.random(ROWS)})
    label = (frame["item"].cat.codes % 3 + frame["x"] > 1).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=5, max_bin=4096, min_data_per_group=1, cat_smooth=0, verbose=-1)
    model.fit(frame, label)
    path = str(tmp_path / "model")
    signature = infer_signature(frame.assign(item=frame["item"].astype(str)), model.predict(frame))
    mlflow.lightgbm.save_model(model, path, signature=signature, pip_requirements=["mlflow"])
    rows = [(i, str(item), float(x)) for i, item, x in frame.itertuples()]
    rows += [(ROWS, None, 0.5), (ROWS + 1, "item of tomorrow", 0.5)]
    table = spark.createDataFrame(rows, "id int, item string, x double").repartition(3)
    scored = in_order(score_batch(table, path, predict=["predict_proba"], stage=stage))
    assert [row["id"] for row in scored] == list(range(ROWS + 2))
    assert [row["probability"] for row in scored[:ROWS]] == model.predict_proba(frame).tolist()
    missing = frame.iloc[:1].assign(item=pd.Categorical([None], categories=names), x=0.5)
    assert scored[ROWS]["probability"] == model.predict_proba(missing)[0].tolist()
    assert scored[ROWS + 1]["scoring_error"] == "item: unknown level"
    lenient = {"item": FeaturePolicy(invalid="missing", nulls=Fill(names[7]))}
    scored = in_order(score_batch(table, path, predict=["predict_proba"], stage=stage, policy=lenient))
    assert scored[ROWS + 1]["probability"] == model.predict_proba(missing)[0].tolist()
    filled = missing.assign(item=pd.Categorical([names[7]], categories=names))
    assert scored[ROWS]["probability"] == model.predict_proba(filled)[0].tolist()
