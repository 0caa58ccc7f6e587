"""Predictions beside labels that came later: every figure is scikit-learn's, and no row's value is told."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn import metrics
from sklearn.tree import DecisionTreeClassifier

from spark_scoring import EvaluateError, EvaluationLogError, ScoringJob, evaluate, run_job
from spark_scoring.cli import main
from spark_scoring.evaluation.ranks import areas
from spark_scoring.evaluation.slices import SliceKey
from tests.models import register

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring import Evaluation

ROWS = 400
BAD = range(3)
UNKNOWN = range(3, 8)
"""Ids whose label is null; those from 390 on have no label at all."""
LABELLED = range(8, 390)
SOURCE = "id bigint, x double, k bigint, place string, day date"
LABELS = "id bigint, late boolean, kind string, minutes decimal(9,2)"
DAY = dt.date(2026, 1, 1)
EXACT = 1e-12
RARE = 20


@dataclass(frozen=True)
class Orders:
    """Tables that jobs have scored, and what came true."""

    late: str
    """By versions 1 and 2 of a model of 0 and 1, with a list of probabilities: 2 has scored ids from 150 on, again."""
    kind: str
    """Of three texts, with a column of probabilities for each, and other names for what scoring adds."""
    minutes: str
    """Numbers; no job has made it."""
    labels: str
    warehouse: str


def frame_of_orders() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"x": rng.normal(size=ROWS), "k": rng.integers(0, 9, ROWS)})
    frame["place"] = np.where(np.arange(ROWS) % 40 == 11, "rare", rng.choice(["north", "south"], ROWS))
    noise = rng.normal(size=(2, ROWS))
    frame["late"] = frame["x"] + frame["k"] / 4 + noise[0] > 1.2
    frame["kind"] = np.select([frame["x"] + noise[1] > 0.8, frame["k"] > 5], ["lost <b>", "returned"], "kept")
    frame["minutes"] = (30 + 4 * frame["x"] + frame["k"] + 5 * noise[1]).round(2)
    return frame


@pytest.fixture(scope="module")
def orders(spark: SparkSession, registry: str) -> Orders:
    frame = frame_of_orders()
    X = frame[["x", "k"]]
    late = frame["late"].astype("int64")
    with mlflow.start_run():  # the other versions are of no run
        register(DecisionTreeClassifier(max_depth=3, random_state=1).fit(X, late), X, "main.evaluated.late")
    register(DecisionTreeClassifier(max_depth=1, random_state=1).fit(X, late), X, "main.evaluated.late")
    register(DecisionTreeClassifier(max_depth=4, random_state=1).fit(X, frame["kind"]), X, "main.evaluated.kind")
    spark.sql("CREATE SCHEMA IF NOT EXISTS evaluated")
    rows = [
        (i, float(r.x), None if i in BAD else int(r.k), r.place, DAY + dt.timedelta(days=i % 60))
        for i, r in enumerate(frame.itertuples(index=False))
    ]
    spark.createDataFrame(rows, SOURCE).coalesce(1).write.format("delta").saveAsTable("evaluated.orders")
    known = [
        (i, *(None if i in UNKNOWN else v for v in (bool(r.late), r.kind, Decimal(str(r.minutes)))))
        for i, r in enumerate(frame.itertuples(index=False))
        if i < LABELLED.stop
    ]
    known += [(None, True, "kept", None), (-5, True, "kept", Decimal(1))]
    spark.createDataFrame(known, LABELS).coalesce(1).write.format("delta").saveAsTable("evaluated.labels")
    names = {"prediction": "fate", "model_version": "made by", "scored_at": "at", "scoring_error": "why"}
    both = ["predict", "predict_proba"]
    _score(spark, "late/1", "late", predict=both)
    _score(spark, "late/2", "late", predict=both, source={"where": "id >= 150"})
    names = {name: text.replace(" ", "_") for name, text in names.items()}
    _score(spark, "kind/1", "kind", predict=both, per_class="columns", output={"names": names})
    minutes = spark.table("evaluated.orders").selectExpr(
        "id", "place", "30 + 4 * x + k AS prediction", "if(k IS NULL, 'k: null', NULL) AS scoring_error"
    )
    minutes.write.format("delta").saveAsTable("evaluated.minutes_out")
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
    return Orders(
        *(f"main.evaluated.{name}_out" for name in ("late", "kind", "minutes")), "main.evaluated.labels", warehouse
    )


def _score(spark: SparkSession, model: str, name: str, **fields: Any) -> None:
    source = {"table": "main.evaluated.orders", **fields.pop("source", {})}
    output = {"table": f"main.evaluated.{name}_out", **fields.pop("output", {})}
    job = {"model": f"models:/main.evaluated.{model}", "source": source, "output": output, "rehearse": False, **fields}
    run_job(ScoringJob.from_dict(job), spark)


def joined(spark: SparkSession, name: str) -> pd.DataFrame:
    """The rows that are to be measured, in pandas."""
    scored = spark.table(f"evaluated.{name}_out").toPandas()
    labels = spark.table("evaluated.labels").toPandas().dropna(subset=["id", "late"])
    rows = scored.merge(labels.astype({"id": "int64"}), on="id")
    return rows[rows["id"].isin(LABELLED)]


def run(*command: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(part) for part in command])
    return int(end.value.code or 0)


def of_slice(found: Evaluation, by: str, level: str | None, *, is_other: bool = False) -> dict[str, Any]:
    (split,) = (split for split in found.splits if split.by == by)
    (one,) = (one for one in split.slices if (one.level, one.is_other) == (level, is_other))
    return {**one.metrics, "rows": one.rows}


def of_labels(y: Any, p: Any) -> dict[str, Any]:
    return {
        "rows": len(y),
        "accuracy": metrics.accuracy_score(y, p),
        "f1": metrics.f1_score(y, p, average="weighted"),
        "f1_macro": metrics.f1_score(y, p, average="macro"),
    }


def of_probability(y: Any, p: Any) -> dict[str, Any]:
    """Of flags, and the probabilities that they are set."""
    place = np.minimum((p * 10).astype(int), 9)
    gaps = [abs((p[place == i] - y[place == i]).sum()) for i in range(10)]
    return {
        "log_loss": metrics.log_loss(y, p, labels=[0, 1]),
        "auc": metrics.roc_auc_score(y, p),
        "brier": metrics.brier_score_loss(y, p),
        "ece": sum(gaps) / len(y),
    }


def of_numbers(y: Any, p: Any) -> dict[str, Any]:
    return {
        "rows": len(y),
        "rmse": metrics.root_mean_squared_error(y, p),
        "mae": metrics.mean_absolute_error(y, p),
        "r2": metrics.r2_score(y, p),
        "bias": (p - y).mean(),
    }


def test_two_classes_by_version_and_group(orders: Orders, spark: SparkSession) -> None:
    found = evaluate(orders.late, orders.labels, "id", spark, label="late", by=["place"])
    rows = joined(spark, "late")

    def expected(part: pd.DataFrame) -> Any:
        y, p = part["late"].astype(int).to_numpy(), np.stack(part["probability"].to_list())[:, 1]
        return pytest.approx({**of_labels(y, part["prediction"]), **of_probability(y, p)}, rel=EXACT)

    assert rows["probability"].map(str).nunique() < 12  # ties
    assert {**found.metrics, "rows": found.rows.measured} == expected(rows)
    for version in ("1", "2"):
        assert of_slice(found, "model_version", version) == expected(rows[rows["model_version"] == version])
    for place in ("north", "south"):
        assert of_slice(found, "place", place) == expected(rows[rows["place"] == place])
    rare = rows[rows["place"] == "rare"]
    assert len(rare) < RARE
    assert of_slice(found, "place", None, is_other=True) == expected(rare)
    assert "rare" not in json.dumps(found.to_dict())
    twice = ROWS - 150
    counts = found.rows
    assert (counts.rows, counts.bad, counts.unlabelled) == (ROWS + twice, len(BAD), len(UNKNOWN) + 2 * 10)
    assert (counts.not_finite, counts.labels, counts.labels_matched) == (0, 386, 385)
    assert found.notes == (
        "no catalog 'main' here: its tables are those of the warehouse folder " + orders.warehouse,
        f"{twice:,} keys occur in several rows of main.evaluated.late_out: each row counts",
    )
    assert found.positive == "1"
    assert (found.task, found.task_reason) == ("classification", "the table has probabilities, too")
    for one in found.classes:
        y, p = rows["late"].astype(int) == int(one.label), rows["prediction"] == int(one.label)
        assert one.precision == pytest.approx(metrics.precision_score(y, p), rel=EXACT)
        assert (one.rows, one.predicted, one.recall) == (y.sum(), p.sum(), metrics.recall_score(y, p))
    told = {(one.label, one.prediction): one.rows for one in found.confusion}
    matrix = metrics.confusion_matrix(rows["late"].astype(int), rows["prediction"])
    assert told == {(str(i), str(j)): matrix[i, j] for i in (0, 1) for j in (0, 1)}
    share = np.stack(rows["probability"].to_list())[:, 1]
    for one in found.calibration:
        part = (share >= one.low) & (share < one.high)
        assert one.rows == part.sum()
        if one.rows >= RARE:
            means = share[part].mean(), rows["late"][part].mean()
            assert (one.predicted, one.observed) == pytest.approx(means, rel=EXACT)
        else:
            assert (one.predicted, one.observed) == (None, None)
    assert found.failed("auc < 0.99", "auc < 0.1", "rows < 1") == ("auc < 0.99",)


def test_three_texts_with_a_column_for_each(orders: Orders, spark: SparkSession) -> None:
    found = evaluate(orders.kind, orders.labels, ["id"], spark, label="kind", window="month", time="day")
    rows = joined(spark, "kind")
    assert (found.prediction, found.splits[0].by) == ("fate", "made_by")  # as the history tells
    classes = ["kept", "lost <b>", "returned"]
    proba = rows[[f"probability_{name}" for name in classes]].to_numpy()
    y, p = rows["kind"], rows["fate"]
    expected = {**of_labels(y, p), "log_loss": metrics.log_loss(y, proba, labels=classes)}
    best, hit = proba.max(axis=1), np.array(classes)[proba.argmax(axis=1)] == y
    expected["ece"] = of_probability(hit.astype(int).to_numpy(), best)["ece"]
    own = dict(found.metrics)
    assert (own.pop("auc"), own.pop("brier")) == (None, None)
    assert {**own, "rows": found.rows.measured} == pytest.approx(expected, rel=EXACT)
    january = rows["day"].map(lambda day: day.month) == 1
    assert of_slice(found, "day", "2026-01-01")["f1"] == pytest.approx(
        of_labels(y[january], p[january])["f1"], rel=EXACT
    )
    assert sum(one.rows for one in found.splits[1].slices) == found.rows.measured
    assert "lost <b>" in str(found)
    assert "&lt;b&gt;" in found._repr_html_()
    assert found.rows.bad == len(BAD)


def test_numbers_of_a_view_with_odd_names(orders: Orders, spark: SparkSession) -> None:
    odd = "a `b`.`<script>`"
    scored, came = (spark.table(f"evaluated.{name}").withColumnRenamed("id", odd) for name in ("minutes_out", "labels"))
    scored.select("`a ``b``.``<script>```", "prediction", "scoring_error", "place").createOrReplaceTempView("odd")
    came.withColumnRenamed("minutes", "m.<i>").drop("late", "kind").createOrReplaceTempView("came")
    found = evaluate("odd", "came", odd, spark, by="place", where="`a ``b``.``<script>``` >= 100")
    rows = joined(spark, "minutes")
    rows = rows[rows["id"] >= 100].assign(minutes=rows["minutes"].astype(float))
    y, p = rows["minutes"], rows["prediction"]
    assert {**found.metrics, "rows": found.rows.measured} == pytest.approx(of_numbers(y, p), rel=EXACT)
    north = rows["place"] == "north"
    assert of_slice(found, "place", "north") == pytest.approx(of_numbers(y[north], p[north]), rel=EXACT)
    assert [one.high for one in found.calibration[:-1]] == [
        np.quantile(p, n / 10, method="inverted_cdf") for n in range(1, 10)
    ]
    for one in found.calibration:
        part = (p > (-np.inf if one.low is None else one.low)) & (p <= (np.inf if one.high is None else one.high))
        assert (one.rows, one.predicted, one.observed) == (
            part.sum(),
            pytest.approx(p[part].mean(), rel=EXACT),
            pytest.approx(y[part].mean(), rel=EXACT),
        )
    assert found.task == "regression"
    with pytest.raises(EvaluationLogError, match="no version of a registered model"):
        found.log()


def test_a_probability_alone_and_what_is_not_finite(orders: Orders, spark: SparkSession) -> None:
    scored = spark.table("evaluated.late_out").where("model_version = '1' AND scoring_error IS NULL")
    odd = "CASE id WHEN 8 THEN double('NaN') WHEN 9 THEN double('inf') WHEN 10 THEN null ELSE float(probability[1]) END"
    scored.selectExpr("id", f"{odd} AS prediction").createOrReplaceTempView("chances")
    spark.sql("CREATE OR REPLACE TEMP VIEW ones AS SELECT id, int(late) AS late FROM evaluated.labels")
    found = evaluate("chances", "ones", "id", spark)
    rows = joined(spark, "late")
    rows = rows[(rows["model_version"] == "1") & ~rows["id"].isin([8, 9, 10])]
    p = np.stack(rows["probability"].to_list())[:, 1].astype("float32").astype("float64")
    assert found.metrics == pytest.approx(of_probability(rows["late"].astype(int).to_numpy(), p), rel=EXACT)
    assert (found.task, found.rows.not_finite, found.rows.measured) == ("probability", 3, len(rows))


def test_an_area_of_many_buckets_is_exact(spark: SparkSession) -> None:
    rng = np.random.default_rng(2)
    score, hit = rng.random(600).round(2), rng.random(600) < 0.4
    own = [(-1, None, False, float(p), bool(h)) for p, h in zip(score, hit, strict=True)]
    part = [(0, "a", False, p, h) for *_, p, h in own[:50]]
    alone = [(0, "b", False, p, True) for *_, p, _ in own[:9]]
    ddl = "split int, level string, is_other boolean, score double, hit boolean"
    found = areas(spark.createDataFrame([*own, *part, *alone], ddl), 50_000_000)
    assert found == {
        SliceKey(-1, None, is_other=False): pytest.approx(metrics.roc_auc_score(hit, score), rel=EXACT),
        SliceKey(0, "a", is_other=False): pytest.approx(metrics.roc_auc_score(hit[:50], score[:50]), rel=EXACT),
        SliceKey(0, "b", is_other=False): None,
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("predicted", "classes"),
    [
        (lambda p: np.where(p > 0.5, "yes", "no"), ("no", "yes")),
        (lambda p: np.where(p > 0.2, "yes", "no"), ("no", "yes")),  # by another threshold
        (lambda p: np.where(p > 0.5, "no", "yes"), ("yes", "no")),
        (lambda p: np.where(p > 2.0, "yes", "no"), ("no", "yes")),  # never predicted; a label tells
        (lambda p: np.where(p * 100 % 2 < 1, "yes", "no"), ("no", "yes")),  # as chance has it
    ],
)
def test_which_probability_is_of_which_class(predicted: Any, classes: Any, spark: SparkSession) -> None:
    p = np.random.default_rng(3).random(200)
    came, said = np.where(p > 0.6, "yes", "no"), predicted(p)
    if set(said) == {"no"}:
        p = p / 2
    rows = [(i, str(s), [float(1 - q), float(q)]) for i, (s, q) in enumerate(zip(said, p, strict=True))]
    spark.createDataFrame(rows, "id int, prediction string, probability array<float>").createOrReplaceTempView("said")
    spark.createDataFrame(list(enumerate(map(str, came))), "id int, came string").createOrReplaceTempView("came_true")
    found = evaluate("said", "came_true", "id", spark)
    turns = np.diff(said[np.argsort(p)] == "yes").sum()
    assert bool(found.notes) == (turns > 1)
    if found.notes:
        assert (found.metrics["log_loss"], found.positive) == (None, None)
        assert "--classes says it" in found.notes[0]
        found = evaluate("said", "came_true", "id", spark, classes=["no", "yes"])
    q = p.astype("float32").astype("float64")
    assert found.positive == classes[1]
    assert found.metrics["auc"] == pytest.approx(metrics.roc_auc_score(came == classes[1], q), rel=EXACT)
    assert found.metrics["brier"] == pytest.approx(metrics.brier_score_loss(came == classes[1], q), rel=EXACT)


@pytest.mark.long
def test_labels_that_are_not_there_yet_and_classes_that_the_model_does_not_know(spark: SparkSession) -> None:
    rows = [(i, i % 2, [float(i % 2 == 0), float(i % 2)]) for i in range(60)]
    spark.createDataFrame(rows, "id int, prediction int, probability array<double>").createOrReplaceTempView("codes")
    spark.sql("CREATE OR REPLACE TEMP VIEW none AS SELECT id, int(null) AS y FROM codes")
    nothing = evaluate("codes", "none", "id", spark)
    assert (nothing.rows.measured, set(nothing.metrics.values())) == (0, {None})
    assert nothing.notes == ("none has no label yet: there is none that is not null, with a whole key",)
    assert nothing.failed("accuracy < 0.5") == ("accuracy < 0.5",)  # what was not measured has not passed
    with pytest.raises(EvaluateError, match="rmse is not a measure of this task, classification"):
        nothing.failed("rmse > 1")
    spark.sql("CREATE OR REPLACE TEMP VIEW more AS SELECT id, if(id < 5, 7, prediction) AS y FROM codes")
    found = evaluate("codes", "more", "id", spark)
    assert found.metrics["log_loss"] is None
    assert found.metrics["accuracy"] == pytest.approx(55 / 60, rel=EXACT)
    assert ([one.label for one in found.classes], found.other_classes) == (["1", "0"], 5)
    with pytest.raises(EvaluateError, match="it is the prediction itself"):
        evaluate("codes", "codes", "id", spark, label="prediction")
    with pytest.raises(EvaluateError, match="it names 1, and the rows have probabilities of 2 classes"):
        evaluate("codes", "more", "id", spark, classes=[1])


def test_all_that_is_wrong_is_told_at_once(orders: Orders, spark: SparkSession) -> None:
    with pytest.raises(EvaluateError) as error:
        evaluate(
            orders.late, orders.labels, ["id", "idd", "day"], spark, by="plce", window="year", prediction="probability"
        )
    told = [(problem.thing, problem.fix) for problem in error.value.problems]
    assert [thing for thing, _ in told] == [
        "--window year",
        "--key idd",
        "--key idd",
        "--key day",
        "--prediction probability",
        "--by plce",
    ]
    assert told[1][1] == "did you mean id?"
    assert told[5][1] == "did you mean place?"
    with pytest.raises(EvaluateError) as error:
        evaluate("main.evaluated.lat_out", "./nowhere", "id", spark)
    assert [p.thing for p in error.value.problems] == ["table main.evaluated.lat_out", "labels ./nowhere"]
    with pytest.raises(EvaluateError, match="labels: it is a DataFrame, and not the name or path of a table"):
        evaluate(orders.late, spark.table("evaluated.labels"), "id", spark)  # type: ignore[arg-type]
    spark.sql("CREATE OR REPLACE TEMP VIEW texts AS SELECT string(id) AS id, minutes FROM evaluated.labels")
    with pytest.raises(EvaluateError, match="it is bigint among the predictions and string among the labels") as error:
        evaluate(orders.minutes, "texts", "id", spark)
    assert error.value.problems[0].fix == "give a view of the labels with CAST(`id` AS BIGINT) AS `id`"
    spark.sql("CREATE OR REPLACE TEMP VIEW cast_back AS SELECT CAST(`id` AS BIGINT) AS `id`, minutes FROM texts")
    assert evaluate(orders.minutes, "cast_back", "id", spark).rows.measured > 0
    spark.sql("CREATE OR REPLACE TEMP VIEW doubles AS SELECT double(id) AS id, minutes FROM evaluated.labels")
    with pytest.raises(EvaluateError, match="two keys may become one"):
        evaluate(orders.minutes, "doubles", "id", spark)
    with pytest.raises(EvaluateError, match="it is string, and the prediction prediction is bigint"):
        evaluate(orders.late, orders.labels, "id", spark, label="kind")
    again = "SELECT id, kind FROM evaluated.labels UNION ALL SELECT id, kind FROM evaluated.labels WHERE id < 7"
    spark.sql(f"CREATE OR REPLACE TEMP VIEW again AS {again}")
    with pytest.raises(EvaluateError, match=r"labels again: 8 keys occur in several of its rows"):
        evaluate(orders.kind, "again", "id", spark)


def test_the_command_and_what_it_logs(orders: Orders, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", orders.late, "--labels", orders.labels, "--key", "id", "--label", "late"]
    assert run(*command, "--json", "--log", "--fail-if", "auc < 0.99", "--fail-if", "f1 < 0") == 3
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert "--fail-if auc < 0.99: it holds; auc is 0." in told.err
    assert "f1 < 0" not in told.err
    client = MlflowClient()
    runs = dict(re.findall(r"logged  main\.evaluated\.late version (\d), run (\w+)", told.err))
    for one in found["splits"][0]["slices"]:
        version = client.get_model_version("main.evaluated.late", one["level"])
        assert version.run_id in (runs[one["level"]], None)
        own = client.get_run(runs[one["level"]]).data.metrics
        assert own == {f"evaluation_{name}": value for name, value in {**one["metrics"], "rows": one["rows"]}.items()}
        tag = json.loads(version.tags["spark_scoring.evaluated"])
        assert (tag["rows"], tag["table"]) == (one["rows"], orders.late)
        assert tag["metrics"]["f1"] == pytest.approx(one["metrics"]["f1"], abs=1e-6)
    model = client.get_logged_model(client.get_model_version("main.evaluated.late", "2").source.rpartition("/")[2])
    assert {metric.key for metric in model.metrics} == set(own)  # of the version that is of no run
    assert run("evaluate", orders.minutes, "--labels", orders.labels, "--key", "id", "--fail-if", "auk < 1") == 2
    assert "there is no measure auk" in capsys.readouterr().err


@pytest.mark.long
def test_columns_of_classes_that_are_named_tell_their_order_by_the_rows(orders: Orders, spark: SparkSession) -> None:
    named = evaluate(orders.kind, orders.labels, "id", spark, label="kind")
    columns = [f"probability_{name}" for name in ("returned", "kept", "lost <b>")]
    found = evaluate(orders.kind, orders.labels, "id", spark, label="kind", probability=columns)
    assert found.metrics["log_loss"] == pytest.approx(named.metrics["log_loss"], rel=EXACT)
