"""Whole jobs: a registered model, a Delta table in, a Delta table of predictions out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pytest
from lightgbm import LGBMClassifier

from spark_scoring import ScoringJob, plan_job, run_job
from spark_scoring.errors import RequestError
from tests.models import TABLE, frame_in_order, in_order, register, table_rows, training_frame

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import RunReport
    from tests.place import Place

ROWS = 400


@pytest.fixture(scope="module")
def model(registry: str) -> str:
    """A LightGBM classifier, registered under a three-level name."""
    frame, label = training_frame(ROWS)
    classifier = LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(frame, label)
    return register(classifier, frame, "main.jobs.delay", mlflow.lightgbm)


@pytest.fixture(scope="module")
def source(spark: SparkSession) -> str:
    """A Delta table by a three-level name, two rows of which cannot be scored."""
    frame, _ = training_frame(ROWS)
    rows = table_rows(frame)
    rows[0] = (*rows[0][:8], None, "total is null")
    rows[1] = (*rows[1][:4], None, *rows[1][5:7], None, *rows[1][8:])
    spark.sql("CREATE SCHEMA IF NOT EXISTS gold")
    spark.createDataFrame(rows, TABLE).write.format("delta").saveAsTable("gold.orders")
    return "main.gold.orders"


def job(model: str, source: str | dict[str, object], output: dict[str, object], **fields: object) -> ScoringJob:
    place = {"table": source} if isinstance(source, str) else source
    return ScoringJob.from_dict({"model": model, "source": place, "output": output, **fields})


@pytest.fixture(scope="module")
def report(spark: SparkSession, model: str, source: str) -> RunReport:
    """Of a run into ``ml.scored``."""
    output = {"table": "main.ml.scored", "keep": ["id"], "naming": "databricks"}
    return run_job(job(model, source, output, predict=["predict", "predict_proba"]))


def test_every_row_of_the_source_is_written_once(spark: SparkSession, report: RunReport) -> None:
    assert (report.rows_in, report.rows_out, report.bad_rows) == (ROWS, ROWS, 2)
    assert [r["id"] for r in in_order(spark.table("ml.scored"))] == list(range(ROWS))


def test_a_bad_row_has_a_null_prediction_and_its_reasons(spark: SparkSession, report: RunReport) -> None:
    bad = in_order(spark.table("ml.scored").where("scoring_error IS NOT NULL"))
    assert [(r["id"], r["prediction"], r["scoring_error"]) for r in bad] == [
        (0, None, "total: null"),
        (1, None, "member: null; count: null"),
    ]
    assert [(r.feature, r.code, r.text, r.rows) for r in report.reasons] == [
        ("count", "null", "count: null", 1),
        ("member", "null", "member: null", 1),
        ("total", "null", "total: null", 1),
    ]


@pytest.mark.usefixtures("report")
def test_predictions_are_those_of_the_model(spark: SparkSession, model: str) -> None:
    got = frame_in_order(spark.table("ml.scored").where("scoring_error IS NULL"))
    frame, _ = training_frame(ROWS)
    native = mlflow.lightgbm.load_model(model)
    assert got["prediction"].tolist() == native.predict(frame.iloc[2:]).tolist()
    np.testing.assert_array_equal(np.stack(got["probability"]), native.predict_proba(frame.iloc[2:]))


def test_a_lenient_run_counts_what_it_replaced(spark: SparkSession, model: str, source: str) -> None:
    output = {"table": "main.ml.lenient", "keep": ["id"]}
    report = run_job(job(model, source, output, policy={"*": "lenient", "ratio": "strict"}))
    nulls = spark.table("gold.orders").selectExpr(
        *[
            f"count_if({name} IS NULL) AS {name}"
            for name in ("price", "rate", "member", "tiny", "small", "count", "total")
        ]
    )
    assert dict(report.touched) == nulls.collect()[0].asDict()
    assert report.bad_rows == 0


def test_the_commit_carries_the_run(spark: SparkSession, model: str, report: RunReport) -> None:
    row = spark.sql("DESCRIBE HISTORY ml.scored LIMIT 1").collect()[0]
    facts = json.loads(row["userMetadata"])["spark_scoring"]
    assert facts["run_id"] == report.run_id
    assert facts["model_uri"] == model
    assert facts["model_version"] == model.rsplit("/", maxsplit=1)[1]
    assert facts["source_version"] == 0
    assert facts["rows_in"] == ROWS
    assert facts["plan_hash"] == report.plan_hash


def test_lineage_columns_name_model_and_run(spark: SparkSession, model: str, report: RunReport) -> None:
    row = spark.table("ml.scored").where("id = 5").collect()[0].asDict()
    assert row["model_name"] == "main.jobs.delay"
    assert row["model_id"] == model.rsplit("/", maxsplit=1)[1]
    assert row["run_id"] == report.run_id
    assert "timestamp" in row


def test_append_adds_and_overwrite_replaces(spark: SparkSession, model: str, source: str) -> None:
    output = {"table": "main.ml.modes", "keep": ["id"]}
    run_job(job(model, source, output))
    run_job(job(model, source, output, name="another"))
    assert spark.table("ml.modes").count() == 2 * ROWS
    last = run_job(job(model, source, {**output, "mode": "overwrite"}))
    assert spark.table("ml.modes").count() == ROWS
    assert spark.table("ml.modes").where(f"run_id = '{last.run_id}'").count() == ROWS


def test_an_overwrite_keeps_the_clustering(spark: SparkSession, model: str, source: str) -> None:
    output = {"table": "main.ml.clustered", "keep": ["id"]}
    run_job(job(model, source, output))
    spark.sql("ALTER TABLE ml.clustered CLUSTER BY (id)")
    run_job(job(model, source, {**output, "mode": "overwrite"}))
    assert spark.sql("DESCRIBE DETAIL ml.clustered").collect()[0]["clusteringColumns"] == ["id"]
    assert spark.table("ml.clustered").count() == ROWS


def test_an_overwrite_is_of_the_whole_table(spark: SparkSession, model: str, source: str) -> None:
    """Under dynamic partition overwrite, partitions without a new row would keep their old ones."""
    output = {"table": "main.ml.parts", "keep": ["id", "note"]}
    run_job(job(model, {"table": source, "where": "id < 4"}, output))
    divided = spark.table("ml.parts").write.format("delta").mode("overwrite").partitionBy("note")
    divided.option("overwriteSchema", "true").save(spark.sql("DESCRIBE DETAIL ml.parts").collect()[0]["location"])
    spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    try:
        run_job(job(model, {"table": source, "where": "id = 2"}, {**output, "mode": "overwrite"}))
    finally:
        spark.conf.unset("spark.sql.sources.partitionOverwriteMode")
    assert [row["id"] for row in spark.table("ml.parts").collect()] == [2]


def test_paths_work_as_names_do(spark: SparkSession, model: str, tmp_path: Path) -> None:
    frame, _ = training_frame(ROWS)
    folder = tmp_path / "in put"
    spark.createDataFrame(table_rows(frame), TABLE).write.format("delta").save(str(folder))
    report = run_job(job(model, {"path": str(folder)}, {"path": str(tmp_path / "out")}))
    assert report.rows_out == ROWS
    assert spark.read.format("delta").load(str(tmp_path / "out")).count() == ROWS


def test_the_source_is_read_at_one_version(spark: SparkSession, model: str, tmp_path: Path) -> None:
    frame, _ = training_frame(ROWS)
    folder = str(tmp_path / "in")
    data = spark.createDataFrame(table_rows(frame), TABLE)
    data.write.format("delta").save(folder)
    plan = plan_job(job(model, {"path": folder}, {"path": str(tmp_path / "out")}))
    data.write.format("delta").mode("append").save(folder)
    assert run_job(plan).rows_in == ROWS
    old = job(model, {"path": folder, "version": 0}, {"path": str(tmp_path / "old")})
    assert run_job(old).rows_in == ROWS


def test_where_and_columns_take_sql(spark: SparkSession, model: str, source: str) -> None:
    rows = {"table": source, "where": "id >= 100 AND id < 110"}
    columns = {"price": "CAST(price AS DOUBLE) * 2", "count": "CAST(total % 7 AS INT)"}
    report = run_job(job(model, rows, {"table": "main.ml.sql", "keep": ["id"]}, columns=columns))
    frame = training_frame(ROWS)[0].iloc[100:110]
    changed = frame.assign(price=frame["price"] * 2, count=(frame["total"] % 7).astype("int32"))
    got = [r["prediction"] for r in in_order(spark.table("ml.sql"))]
    assert report.rows_in == 10
    assert got == mlflow.lightgbm.load_model(model).predict(changed).tolist()


def test_all_problems_of_a_request_come_at_once(registry: str, spark: SparkSession) -> None:
    wrong = job("models:/main.jobs.dealy/1", "main.gold.oders", {"path": "/etc"})
    with pytest.raises(RequestError) as raised:
        plan_job(wrong)
    things = [p.thing for p in raised.value.problems]
    assert things == [
        "model 'models:/main.jobs.dealy/1'",
        "source main.gold.oders",
        "output /etc",
    ]  # a job file's order


def test_progress_is_told_in_rows_of_the_run(clean: Place) -> None:
    told: list[tuple[int, int]] = []
    rows = clean.spark.range(1_000).selectExpr("id", "CAST(id AS double) AS x", "id AS n", "CAST(id AS string) AS note")
    rows.repartition(16).write.format("delta").mode("overwrite").save(clean.source)
    clean.spark.conf.set("spark.sql.files.openCostInBytes", "1g")  # a task for each file: some end before others
    try:
        run_job(clean.job(source={"where": "id < 600"}), on_progress=lambda *rows: told.append(rows))
    finally:
        clean.spark.conf.unset("spark.sql.files.openCostInBytes")
    assert {total for _, total in told} == {600}
    assert all(0 <= done < 600 for done, _ in told)
    assert any(done > 0 for done, _ in told)
