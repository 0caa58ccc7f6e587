"""Two versions against labels: the metrics of both are scikit-learn's over the rows that both have scored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from spark_scoring import CompareError, EvaluateError, RequestError, ScoringJob, compare_job
from spark_scoring.cli import main
from tests.models import register

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import Comparison

ROWS = 600
UNLABELLED = 40
"""The last rows have no label; the first two have a null one."""


@dataclass(frozen=True)
class Orders:
    """A table of orders; what became of each is in another one. Two models of returns, and two of weights."""

    frame: pd.DataFrame
    returns: tuple[Any, Any]
    weights: tuple[Any, Any]
    fields: dict[str, str]

    def job(self, name: str, **fields: Any) -> ScoringJob:
        job = {"model": f"models:/main.held.{name}/1", "source": "main.held.orders", "output": "main.held.out"}
        return ScoringJob.from_dict({**job, **self.fields, **fields})


@pytest.fixture(scope="module")
def orders(spark: SparkSession, registry: str) -> Orders:
    rng = np.random.default_rng(5)
    features = pd.DataFrame({"amount": rng.gamma(2, 40, ROWS), "items": rng.integers(1, 9, ROWS).astype("int64")})
    returned = rng.random(ROWS) < 1 / (1 + np.exp(3 - features["amount"] / 40))
    weight = features["items"] * 0.4 + rng.normal(0, 0.2, ROWS)
    items = features[["items"]].astype("float64")
    returns, weights = [], []
    for given in (features, features.assign(amount=rng.permutation(features["amount"]))):  # the second has learnt less
        returns.append(LogisticRegression(max_iter=500).fit(given, returned.astype("int64")))
        register(returns[-1], features, "main.held.returns")
    for sample in (items.iloc[:300], items.iloc[:4]):
        weights.append(LinearRegression().fit(sample, weight.iloc[sample.index]))
        register(weights[-1], items, "main.held.weights")
    frame = features.assign(id=range(ROWS), returned=returned, weight=weight)
    spark.sql("CREATE SCHEMA IF NOT EXISTS held")
    orders = frame.drop(columns="returned")
    orders.loc[5, "weight"] = np.nan
    spark.createDataFrame(orders).write.format("delta").saveAsTable("held.orders")
    labels = [(int(r.id), None if r.id < 2 else bool(r.returned)) for r in frame[:-UNLABELLED].itertuples()]
    spark.createDataFrame(labels, "order_id int, returned boolean").withColumnRenamed("order_id", "id").write.format(
        "delta"
    ).saveAsTable("held.returns")
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
    return Orders(
        frame, (returns[0], returns[1]), (weights[0], weights[1]), {"tracking_uri": registry, "warehouse": warehouse}
    )


def returns_against(spark: SparkSession, orders: Orders, **asked: Any) -> Comparison:
    job = orders.job("returns", predict=["predict", "predict_proba"])
    return compare_job(
        job, "models:/main.held.returns/2", spark, **{"labels": "main.held.returns", "key": "id", **asked}
    )


def test_classes_of_both_models_are_measured_over_the_same_rows(spark: SparkSession, orders: Orders) -> None:
    found = returns_against(spark, orders)
    labelled = found.labelled
    assert labelled is not None
    assert (labelled.label, labelled.key, labelled.task) == ("returned", ("id",), "classification")
    assert (labelled.rows, labelled.unlabelled, labelled.not_finite) == (ROWS, UNLABELLED + 2, 0)
    rows = orders.frame.iloc[2:-UNLABELLED]
    measured = []
    for model, got in zip(orders.returns, (labelled.current, labelled.challenger), strict=True):
        own = rows[["amount", "items"]]
        predicted, probability = model.predict(own), model.predict_proba(own)
        assert got["accuracy"] == pytest.approx(accuracy_score(rows["returned"], predicted))
        assert got["f1_macro"] == pytest.approx(f1_score(rows["returned"], predicted, average="macro"))
        assert got["log_loss"] == pytest.approx(log_loss(rows["returned"], probability))
        measured.append(roc_auc_score(rows["returned"], probability[:, 1]))
        assert got["auc"] == pytest.approx(measured[-1])
    assert found.measures["auc_change"] == pytest.approx(measured[1] - measured[0])
    assert found.measures["current.auc"] == labelled.current["auc"]
    assert found.failed("auc_change < -0.05", "challenger.auc > 1") == ("auc_change < -0.05",)
    shown = str(found)
    assert "labels      returned of main.held.returns at version 0; classification: the models tell classes" in shown
    assert f"558 of the {ROWS} rows that both have scored are measured; 42 without a label" in shown
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["labelled"]["measured"] == 558


def test_numbers_are_measured_against_a_column_of_the_source(spark: SparkSession, orders: Orders) -> None:
    job = orders.job("weights", columns={"items": "CAST(items AS DOUBLE)"})
    found = compare_job(job, "models:/main.held.weights/2", spark, label="Weight")
    labelled = found.labelled
    assert labelled is not None
    assert (labelled.table, labelled.label, labelled.task) == (None, "weight", "regression")
    assert (labelled.unlabelled, labelled.not_finite, labelled.measured) == (0, 1, ROWS - 1)
    rows = orders.frame.drop(index=5)
    for model, got in zip(orders.weights, (labelled.current, labelled.challenger), strict=True):
        predicted = model.predict(rows[["items"]].astype("float64"))
        assert got["mae"] == pytest.approx(mean_absolute_error(rows["weight"], predicted))
        assert got["r2"] == pytest.approx(r2_score(rows["weight"], predicted))
    assert found.failed("rmse_change > 0") == ("rmse_change > 0",)
    with pytest.raises(CompareError, match="there is no measure auc_change"):
        found.failed("auc_change > 0")


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"labels": None}, "no such table is named"),
        ({"labels": None, "key": (), "task": "regression"}, "there are no labels"),
        ({"key": ()}, "nothing says which columns match a prediction with its label"),
        ({"key": "idd"}, "has no such column"),
        ({"label": "returnd"}, "did you mean returned"),
        ({"labels": "main.held.retorns"}, "did you mean"),
        ({"task": "regresion"}, "there is no such choice"),
        ({"task": "regression"}, "this task takes numbers"),
    ],
)
def test_what_is_wrong_with_the_labels_is_told_before_a_row_is_read(
    spark: SparkSession, orders: Orders, asked: dict[str, Any], cause: str
) -> None:
    with pytest.raises(RequestError, match=cause):
        returns_against(spark, orders, **asked)


def test_labels_of_which_several_are_of_one_key_are_refused(spark: SparkSession, orders: Orders) -> None:
    spark.sql("CREATE OR REPLACE TEMP VIEW twice AS SELECT * FROM held.returns UNION ALL SELECT 7L, true")
    with pytest.raises(EvaluateError, match="1 key occurs in several of its rows"):
        returns_against(spark, orders, labels="twice")


def test_models_without_a_single_prediction_are_told(spark: SparkSession, orders: Orders) -> None:
    job = orders.job("returns", predict="predict_proba")
    with pytest.raises(CompareError, match="the models return probability"):
        compare_job(job, "models:/main.held.returns/2", spark, labels="main.held.returns", key="id")


def test_metrics_decide_on_the_exit_status(orders: Orders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yml"
    file.write_text(
        orders.job("returns", source={"table": "main.held.orders", "where": "id < 200"}, rehearse=False).to_yaml()
    )
    command = ["compare", str(file), "--with", "models:/main.held.returns/2"]
    labels = ["--labels", "main.held.returns", "--key", "id"]
    for arguments, status, told in (
        ([*labels, "--fail-if", "accuracy_change > 0.5"], 0, "need probabilities: let predict name predict_proba, too"),
        ([*labels, "--fail-if", "accuracy_change < 0.5"], 3, "--fail-if accuracy_change < 0.5: it holds"),
        ([*labels, "--fail-if", "rmse_change > 0"], 2, "there is no measure rmse_change"),
        (["--fail-if", "accuracy_change < 0"], 2, "measured against labels, and there are none"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command, *arguments])
        found = capsys.readouterr()
        assert (ended.value.code, told in found.out + found.err) == (status, True), found.err
