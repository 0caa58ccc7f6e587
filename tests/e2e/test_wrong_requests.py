"""What a wrong request is told: the thing, the cause, the fix; and that nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_scoring import ScoringJob, plan_job, run_job
from spark_scoring.errors import RequestError, RunError
from tests.models import QUICKLY, TABLE, register, table_rows, training_frame

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def job(spark: SparkSession, registry: str) -> dict[str, Any]:
    """A job that would run, into a table of its own."""
    frame, label = training_frame(200)
    model = LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, label)
    spark.sql("CREATE SCHEMA IF NOT EXISTS wrong")
    spark.createDataFrame(table_rows(frame), TABLE).write.format("delta").saveAsTable("wrong.orders")
    spark.sql("CREATE VIEW wrong.seen AS SELECT * FROM wrong.orders")
    return {
        "model": register(model, frame, "main.wrong.model", mlflow.lightgbm),
        "source": {"table": "main.wrong.orders"},
        "output": {"table": "main.wrong.scored"},
    }


def message(job: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(RequestError) as raised:
        plan_job(ScoringJob.from_dict({**job, **changes}))
    return str(raised.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"table": "main.wrong.order"},
            "source main.wrong.order: no such table\n   fix: did you mean main.wrong.orders",
        ),
        ({"table": "wrogn.orders"}, "source wrogn.orders: no such table\n   fix: did you mean wrong.orders?"),
        ({"path": "/no/such/table"}, "source /no/such/table: there is no such file or folder"),
        (
            {"path": "no/orders.csv", "format": "csv"},
            "source no/orders.csv: there is no such file or folder\n   fix: check the path, which begins in ",
        ),
        ({"table": "orders.csv"}, "source orders.csv: no such file in the working directory, and no such table"),
        (
            {"path": "nosuchfs://user:secret@bucket/x"},
            "table nosuchfs://***@bucket/x: its storage cannot be asked: org.apache.hadoop.fs.Unsupported",
        ),
        ({"table": "a.b.c.d"}, "table 'a.b.c.d': not a table name of one to three parts"),
        ({"table": "main.wrong.seen", "version": 1}, "it is a view and not a Delta table, so it has no versions"),
        (
            {"table": "main.wrong.orders", "version": 7},
            "it has no version 7\n   fix: versions 0 to 0 are in its history",
        ),
        ({"table": "main.wrong.orders", "timestamp": "1999-01-01"}, "no version as early as 1999-01-01"),
        ({"table": "main.wrong.orders", "timestamp": "soon"}, "'soon' is not an ISO 8601 time"),
        (
            {"table": "main.wrong.orders", "where": "pirce > 1"},
            "does not fit it: there is no column 'pirce'\n   fix: did you mean price?",
        ),
        ({"table": "main.wrong.orders", "where": "price >"}, "where: 'price >' does not fit it"),
    ],
)
def test_a_source_that_cannot_be_read(job: dict[str, Any], source: dict[str, Any], expected: str) -> None:
    assert expected in message(job, source=source)


def test_a_temporary_view_is_meant_by_a_name_of_one_part_alone(job: dict[str, Any], spark: SparkSession) -> None:
    spark.sql("CREATE OR REPLACE TEMP VIEW ordered AS SELECT * FROM wrong.orders")
    try:
        assert "fix: did you mean wrong.orders?" in message(job, source={"table": "wrong.ordere"})
        assert "fix: did you mean wrong.orders?" in message(job, source={"table": "wrogn.ordere"})
        assert "fix: did you mean ordered?" in message(job, source={"table": "orderd"})
    finally:
        spark.catalog.dropTempView("ordered")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"price": "pirce * 2"}, "there is no column 'pirce'\n   fix: did you mean price?"),
        ({"price": "sum(price)"}, "columns: price: 'sum(price)' does not fit the source"),
        ({"price": "explode(array(1.0, 2.0))"}, "columns: price:"),
        ({"price": "price * 2 AS doubled"}, "it gives its value a name\n   fix: leave the name out"),
        ({"price": "current_date()"}, "feature 'price' (double): no meaningful conversion from DATE"),
        ({"prize": "price"}, "columns: prize: the model has no such feature\n   fix: did you mean price?"),
        ({"item_counts": "count"}, "columns: item_counts: the model has no such feature\n   fix: did you mean count?"),
        ({"price": "count_of_ids"}, "there is no column 'count_of_ids'\n   fix: did you mean count or id?"),
    ],
)
def test_an_expression_that_does_not_fit(job: dict[str, Any], columns: dict[str, str], expected: str) -> None:
    assert expected in message(job, columns=columns)


def test_a_name_with_a_space_needs_backticks_and_the_fix_has_them(job: dict[str, Any], spark: SparkSession) -> None:
    rows = spark.sql("SELECT *, price AS `Order Value` FROM wrong.orders")
    rows.write.format("delta").option("delta.columnMapping.mode", "name").saveAsTable("wrong.spaced")
    fix = "fix: put names with spaces or other marks in backticks: `Order Value`"
    for value in ("Order Value", "Order Value * 2"):
        assert fix in message(job, source={"table": "wrong.spaced"}, columns={"price": value})
    assert fix in message(job, source={"table": "wrong.spaced", "where": "order value > 10"})
    near = message(job, source={"table": "wrong.spaced"}, columns={"price": "`Order Valu` * 2"})
    assert "there is no column 'Order Valu'\n   fix: did you mean `Order Value`?" in near
    source = {"table": "wrong.spaced", "where": "`Order Value` > 10"}
    plan_job({**job, "source": source, "columns": {"price": "`Order Value`"}}, spark)


def test_an_expression_that_does_not_fit_is_not_the_models_fault(
    job: dict[str, Any], spark: SparkSession, tmp_path: Path
) -> None:
    """The model's own example has what the expression would have given."""
    X = pd.DataFrame({"price": [1.0, 2.0, 3.0], "days": [3, 1, 2]})
    scaled = make_column_transformer((StandardScaler(), ["price", "days"]))
    fitted, model = make_pipeline(scaled, LinearRegression()).fit(X, X["price"]), str(tmp_path / "model")
    kept = {"signature": mlflow.models.infer_signature(X, X["price"]), "input_example": X}
    mlflow.sklearn.save_model(fitted, model, pip_requirements=["mlflow"], serialization_format="cloudpickle", **kept)
    spark.sql("CREATE TABLE wrong.days USING delta AS SELECT 1.0D AS price, DATE '2026-01-01' AS day")
    fields = {"model": model, "source": "wrong.days", "output": "wrong.scored"}
    with pytest.raises(RequestError) as refused:
        plan_job({**fields, "columns": {"days": "datediff(DATE '2026-01-02', dday)"}}, spark)
    (problem,) = refused.value.problems
    assert (problem.thing, problem.fix) == ("columns: days", "did you mean day?")
    plan_job({**fields, "columns": {"days": "datediff(DATE '2026-01-02', day)"}}, spark)


def test_what_may_not_be_meant_is_in_the_plan(job: dict[str, Any], spark: SparkSession) -> None:
    def notes(output: str, **fields: Any) -> str:
        return "\n".join(plan_job({**job, "output": output, **fields}, spark).scoring.notes)

    assert "schema 'wrogn' is new, too; did you mean wrong?" in notes("wrogn.scored")
    assert "is new, too" not in notes("wrong.appended")
    again = "once the source has changed, a run appends all its rows again"
    assert again in notes("wrong.appended"), "before the first run, when it can still be heeded"
    run_job({**job, "output": "wrong.appended"}, spark)
    assert again in notes("wrong.appended")
    assert again not in notes("wrong.appended", source={**job["source"], "where": "id > 3"})


def test_an_output_that_is_the_source(job: dict[str, Any], spark: SparkSession) -> None:
    told = message(job, output={"table": "wrong.orders", "mode": "overwrite"})
    assert "it is the source table itself" in told
    assert told.count("\n") == 1, "how the columns of the two differ is not told"
    place = spark.sql("DESCRIBE DETAIL wrong.orders").collect()[0]["location"].removeprefix("file:")
    assert "it is the source table itself" in message(job, output={"path": place})


def test_an_output_that_is_no_delta_table(job: dict[str, Any], spark: SparkSession, tmp_path: Path) -> None:
    spark.range(3).write.parquet(str(tmp_path / "parquet"))
    assert "holds files but no Delta table" in message(job, output={"path": str(tmp_path / "parquet")})
    (tmp_path / "file").write_text("x")
    assert "holds files but no Delta table" in message(job, output={"path": str(tmp_path / "file")})
    spark.range(3).write.format("parquet").saveAsTable("wrong.parquet")
    assert "it is a parquet, not a Delta table" in message(job, output={"table": "main.wrong.parquet"})
    assert "it is a view, not a Delta table" in message(job, output={"table": "main.wrong.seen"})


def test_an_output_with_other_columns(job: dict[str, Any], spark: SparkSession) -> None:
    spark.sql("CREATE TABLE wrong.other (id BIGINT, prediction INT, extra STRING) USING delta")
    text = message(job, output={"table": "main.wrong.other", "keep": ["id"]})
    assert "   column         run writes  table has" in text
    assert "x  prediction     bigint      int" in text
    assert "x  extra          -           string" in text
    assert "x  scoring_error  string      -" in text
    assert "   id             bigint      bigint" in text
    assert "fix: write to another table: this one has no column run_id" in text


def test_an_output_that_refuses_what_a_bad_row_has(job: dict[str, Any], spark: SparkSession) -> None:
    lineage = "scoring_error STRING, model_name STRING, model_version STRING, scored_at TIMESTAMP, run_id STRING"
    spark.sql(f"CREATE TABLE wrong.notnull (id BIGINT, prediction BIGINT NOT NULL, {lineage}) USING delta")
    assert "NOT NULL refuses a null prediction" in message(job, output={"table": "wrong.notnull", "keep": ["id"]})
    spark.sql(f"CREATE TABLE wrong.checked (id BIGINT, prediction BIGINT, {lineage}) USING delta")
    spark.sql("ALTER TABLE wrong.checked ADD CONSTRAINT small CHECK (prediction < 5)")
    assert "CHECK (prediction < 5) refuses a null" in message(job, output={"table": "wrong.checked", "keep": ["id"]})
    spark.sql("ALTER TABLE wrong.notnull SET TBLPROPERTIES ('delta.appendOnly' = 'true')")
    only = {"table": "wrong.notnull", "keep": ["id"], "mode": "overwrite"}
    assert "the table is append-only" in message(job, output=only)


def test_a_kept_column_that_is_missing_or_taken(job: dict[str, Any], spark: SparkSession) -> None:
    assert "keep: idd: the source has no such column\n   fix: did you mean id?" in message(
        job, output={"table": "wrong.x", "keep": ["idd"]}
    )
    stray = message(job, output={"table": "wrong.x", "names": {"predicton": "p"}})
    assert "names: predicton: the run adds no such column\n   fix: did you mean prediction" in stray
    names = {"prediction": "note"}
    assert "output column note: two columns would have this name" in message(
        job, output={"table": "wrong.x", "names": names}
    )


def test_everything_that_can_be_known_comes_at_once(job: dict[str, Any]) -> None:
    text = message(
        job,
        columns={"price": "pirce", "ratio": "current_date()"},
        output={"table": "main.wrong.x", "keep": ["idd"]},
        policy={"prize": "lenient"},
    )
    for thing in ("keep: idd", "columns: price", "feature 'ratio'", "policy: prize"):
        assert thing in text
    assert text.startswith("this request cannot be carried out: 4 problems")


def test_a_refused_job_writes_nothing(job: dict[str, Any], spark: SparkSession, tmp_path: Path) -> None:
    message(job, output={"path": str(tmp_path / "new"), "keep": ["idd"]})
    assert not (tmp_path / "new").exists()


def test_a_run_that_fails_commits_nothing_and_says_why(
    job: dict[str, Any], spark: SparkSession, tmp_path: Path
) -> None:
    failing = {**job, "output": {"path": str(tmp_path / "new")}, "policy": {"ratio": {"nulls": "fail"}}}
    with pytest.raises(RunError, match="a row has ratio: null, and the feature's policy is to fail; nothing was"):
        run_job(ScoringJob.from_dict(failing))
    assert not list((tmp_path / "new" / "_delta_log").glob("*.json"))
    mended = {**failing, "policy": "strict"}
    assert run_job(ScoringJob.from_dict(mended)).rows_out == 200


def test_a_model_that_fails_on_every_row_stops_the_run(job: dict[str, Any], registry: str, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    frame, _ = training_frame(200)
    frame = frame[["price", "total"]]
    line = LinearRegression().fit(frame.fillna(0), frame["total"])
    signature = mlflow.models.infer_signature(frame, line.predict(frame.fillna(0)))
    uri = mlflow.sklearn.log_model(line, name="line", signature=signature, **QUICKLY).model_uri
    nulls = {"model": uri, "columns": {"price": "CAST(NULL AS DOUBLE)"}, "output": {"path": str(tmp_path / "new")}}
    with pytest.raises(RunError, match=r"it raised ValueError on every row that was tried"):
        run_job(ScoringJob.from_dict({**job, **nulls}))
    assert not list((tmp_path / "new" / "_delta_log").glob("*.json"))


def test_a_model_that_contradicts_its_signature_stops_the_run(
    job: dict[str, Any], registry: str, tmp_path: Path
) -> None:
    from sklearn.linear_model import LinearRegression

    frame, _ = training_frame(200)
    frame = frame[["total"]]
    line = LinearRegression().fit(frame, frame["total"] / 3)
    signature = mlflow.models.infer_signature(frame, line.predict(frame).astype("int64"))
    uri = mlflow.sklearn.log_model(line, name="line", signature=signature, **QUICKLY).model_uri
    contradiction = {**job, "model": uri, "output": {"path": str(tmp_path / "new")}}
    message = "the signature says long, the model returned float64 values that do not fit long"
    with pytest.raises(RequestError, match=message):
        run_job(ScoringJob.from_dict(contradiction))
    with pytest.raises(RunError, match=message):
        run_job(ScoringJob.from_dict({**contradiction, "rehearse": False}))
