"""Models trained with feature lookups, scored from keys alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from spark_scoring import (
    FeatureFunction,
    FeatureLookup,
    LocalFeatureClient,
    ScoringJob,
    plan_job,
    plan_scoring,
    run_job,
    score_batch,
)
from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.engine.errors import OutputError
from spark_scoring.errors import RequestError, RunError
from spark_scoring.features.delegate import Delegation
from spark_scoring.model.errors import ModelError
from spark_scoring.model.registry import resolve_model
from tests import needs
from tests.features import FLIGHTS, PLANES, WEATHER, Airline, create_tables, flight_rows, model_frame, train
from tests.models import QUICKLY, frame_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame, SparkSession


@pytest.fixture(scope="module")
def airline(spark: SparkSession, registry: str) -> Airline:
    client = LocalFeatureClient()
    create_tables(spark, client)
    return train(client, spark.createDataFrame(flight_rows(), FLIGHTS), "main.air.delay")


@pytest.mark.long
def test_training_and_scoring_see_the_same_features(airline: Airline) -> None:
    trained = airline.training_set.load_df().drop("late")
    keys = airline.flights.drop("late")
    names = trained.columns
    scored = airline.client.score_batch(model_uri=airline.uri, df=keys).select(*names)
    assert sorted(map(str, scored.collect())) == sorted(map(str, trained.collect()))
    assert trained.count() == airline.flights.count()


def test_a_job_scores_from_keys_alone(airline: Airline, spark: SparkSession) -> None:
    airline.flights.drop("late").write.format("delta").saveAsTable("air.departures")
    job = ScoringJob.from_dict(
        {
            "model": airline.uri,
            "source": {"table": "main.air.departures"},
            "output": {"table": "main.air.scored", "keep": ["flight_id", "temperature"]},
        }
    )
    report = run_job(job)
    got = frame_in_order(spark.table("air.scored").where("scoring_error IS NULL"), "flight_id")
    bad = spark.table("air.scored").where("scoring_error IS NOT NULL").select("scoring_error").distinct().collect()
    keyed = frame_in_order(airline.client.score_batch(model_uri=airline.uri, df=airline.flights), "flight_id")
    features = model_frame(keyed[keyed["gusty"].notna()])[["distance", "seats", "age", "temperature", "gusty"]]
    assert (report.rows_in, report.rows_out) == (300, 300)
    assert [row[0] for row in bad] == ["gusty: null"]
    assert got["prediction"].tolist() == airline.model.predict(features).tolist()
    row = spark.sql("DESCRIBE HISTORY air.scored LIMIT 1").collect()[0]
    assert json.loads(row["userMetadata"])["spark_scoring"]["feature_tables"][WEATHER] == 1


def test_a_run_is_another_one_once_a_feature_table_has_changed(airline: Airline, spark: SparkSession) -> None:
    airline.flights.drop("late").write.format("delta").saveAsTable("air.again")
    output = {"table": "main.air.scored_again", "keep": ["flight_id"], "mode": "overwrite"}
    job = ScoringJob.from_dict({"model": airline.uri, "source": {"table": "main.air.again"}, "output": output})
    assert [run_job(job).skipped, run_job(job).skipped] == [False, True]
    spark.sql("UPDATE air.planes SET seats = seats + 1 WHERE tailnum = 'N1'")
    assert [run_job(job).skipped, run_job(job).skipped] == [False, True]


def test_a_feature_that_the_table_has_is_not_looked_up(airline: Airline) -> None:
    own = airline.flights.selectExpr("*", "-99D AS temperature", "true AS gusty")
    plan = plan_scoring(airline.uri, own)
    assert plan.lookups is not None
    assert [table.name for table in plan.lookups.tables] == ["main.air.planes"]
    scored = airline.client.score_batch(model_uri=airline.uri, df=own)
    assert {row["temperature"] for row in scored.collect()} == {-99.0}
    assert score_batch(own, airline.uri).where("scoring_error IS NOT NULL").count() == 0


def test_the_artifact_loads_with_mlflow_and_says_what_it_needs(airline: Airline) -> None:
    model = mlflow.pyfunc.load_model(airline.uri)
    frame = model_frame(airline.training_set.load_df().where("gusty IS NOT NULL").toPandas()).drop(columns="late")
    assert model.predict(frame).tolist() == airline.model.predict(frame).tolist()
    with pytest.raises(ModelError) as raised:
        model.predict(airline.flights.selectExpr("CAST(distance AS double) distance", "tailnum", "origin").toPandas())
    assert "temperature (from main.air.weather by origin as of sched_dep)" in str(raised.value)


def test_the_plan_names_each_features_origin(airline: Airline, spark: SparkSession) -> None:
    plan = plan_scoring(airline.uri, airline.flights.schema)
    text = plan.explain()
    planes = spark.sql("DESCRIBE HISTORY air.planes LIMIT 1").collect()[0]["version"]
    assert "temperature   main.air.weather at 1: temp   origin    sched_dep >= hour, at most 3 h old" in text
    assert f"age           main.air.planes at {planes}          tailnum" in text
    assert "main.air.weather at 1: temp" in plan.to_html()
    assert [entry["table"] for entry in plan.to_dict()["lookups"]] == ["main.air.planes", "main.air.weather"]


def test_an_artifact_written_by_databricks_layout_is_scored(
    airline: Airline, spark: SparkSession, tmp_path: Path
) -> None:
    """By hand: a raw model without a signature, a stock loader that is not installed here, no key of ours."""
    frame = pd.DataFrame({"distance": [1.0, 2.0, 3.0], "seats": [100.0, 200.0, 150.0]})
    line = LinearRegression().fit(frame, [1.0, 2.0, 3.0])
    store = tmp_path / "data" / "feature_store"
    store.mkdir(parents=True)
    mlflow.sklearn.save_model(line, str(store / "raw_model"), **QUICKLY)
    (store / "feature_spec.yaml").write_text(
        "input_columns:\n"
        "- distance: {source: training_data, data_type: DECIMAL}\n"
        "- tailnum: {source: training_data, data_type: STRING, include: false}\n"
        "- seats: {source: feature_store, table_name: main.air.planes, feature_name: seats,\n"
        "          lookup_key: [tailnum], default_value: '120', data_type: SHORT}\n"
        "input_tables: [{main.air.planes: {table_id: abc}}]\n"
        "input_functions: []\nserialization_version: 11\n"
    )
    (tmp_path / "MLmodel").write_text(
        "flavors:\n  python_function:\n    data: data/feature_store\n"
        "    loader_module: databricks.feature_store.mlflow_model\n    python_version: 3.11.0\n"
        'signature:\n  inputs: \'[{"type": "string", "name": "tailnum", "required": true}]\'\n'
        '  outputs: \'[{"type": "double", "required": true}]\'\n'
    )
    scored = frame_in_order(score_batch(airline.flights, str(tmp_path)), "flight_id")
    seats = {row["tailnum"]: row["seats"] for row in spark.table("air.planes").collect()}
    own = [float(seats.get(tail, 120)) for tail in scored["tailnum"]]
    expected = line.predict(pd.DataFrame({"distance": scored["distance"].astype(float), "seats": own}))
    assert scored["prediction"].tolist() == expected.tolist()
    assert scored.columns.tolist() == [*airline.flights.columns, "prediction", "scoring_error"]


def train_on_function(airline: Airline, function: str) -> tuple[LinearRegression, str]:
    """A model on the distance and on a function of it and of a plane's seats, and its URI."""
    lookups = [
        FeatureLookup(PLANES, ["tailnum"], feature_names="seats"),
        FeatureFunction(udf_name=function, input_bindings={"a": "distance", "b": "seats"}, output_name="per_seat"),
    ]
    training_set = airline.client.create_training_set(
        df=airline.flights.select("tailnum", "distance", "late"),
        feature_lookups=lookups,
        label="late",
        exclude_columns=["tailnum", "seats"],
    )
    frame = training_set.load_df().dropna().toPandas().astype({"distance": "float64"})
    assert frame.columns.tolist() == ["distance", "per_seat", "late"]
    line = LinearRegression().fit(frame[["distance", "per_seat"]], frame["late"].astype(float))
    info = airline.client.log_model(
        model=line,
        artifact_path="line",
        flavor=mlflow.sklearn,
        training_set=training_set,
        signature=infer_signature(frame[["distance", "per_seat"]], line.predict(frame[["distance", "per_seat"]])),
        **QUICKLY,
    )
    return line, str(info.model_uri)


@needs.sql_functions
@pytest.mark.long
def test_a_feature_function_is_scored_where_the_session_does_not_know_it(airline: Airline, spark: SparkSession) -> None:
    spark.sql("CREATE FUNCTION air.per_seat(a DOUBLE, b DOUBLE) RETURNS DOUBLE RETURN a / (b + 1)")
    line, uri = train_on_function(airline, "main.air.per_seat")
    spark.sql("DROP FUNCTION air.per_seat")
    own = airline.client.score_batch(model_uri=uri, df=airline.flights.limit(40)).toPandas()
    known = own[own["per_seat"].notna()]
    assert len(known) > 20
    expected = line.predict(known[["distance", "per_seat"]].astype(float))
    assert known["prediction"].tolist() == expected.tolist()


@needs.sql_functions
def test_a_feature_function_counts_by_what_it_does(airline: Airline, spark: SparkSession) -> None:
    made = "CREATE OR REPLACE FUNCTION air.share(a DOUBLE, b DOUBLE) RETURNS DOUBLE RETURN"
    spark.sql(f"{made} a / (b + 1)")
    model, uri = train_on_function(airline, "main.air.share")
    job = ScoringJob.from_dict(
        {
            **job_of(airline, spark).model_dump(),
            "model": uri,
            "output": {"table": "main.air.by_function", "keep": ["distance", "seats"], "mode": "overwrite"},
        }
    )

    def runs_twice(divided: Callable[[pd.Series], pd.Series]) -> None:
        assert "another one" not in str(plan_job(job).to_dict()["plan"]["notes"])
        assert [run_job(job).skipped, run_job(job).skipped] == [False, True]
        rows = spark.table("air.by_function").where("scoring_error IS NULL").toPandas().astype({"distance": float})
        frame = pd.DataFrame({"distance": rows["distance"], "per_seat": rows["distance"] / divided(rows["seats"])})
        assert len(rows) > 100
        assert rows["prediction"].tolist() == pytest.approx(model.predict(frame).tolist())

    runs_twice(lambda seats: seats + 1)
    spark.sql(f"{made} a / (b + 2)")
    runs_twice(lambda seats: seats + 2)
    spark.sql("DROP FUNCTION air.share")  # now its text of training counts
    runs_twice(lambda seats: seats + 1)


@needs.sql_functions
@pytest.mark.long
def test_a_feature_function_that_asks_for_the_moment_makes_every_run_another_one(
    airline: Airline, spark: SparkSession
) -> None:
    spark.sql(
        "CREATE FUNCTION air.aged(a DOUBLE, b DOUBLE) RETURNS DOUBLE"
        " RETURN a + b * (unix_micros(current_timestamp()) / 1e15D)"
    )
    _, uri = train_on_function(airline, "main.air.aged")
    output = {"table": "main.air.by_moment", "keep": ["distance"], "mode": "overwrite"}
    job = ScoringJob.from_dict({**job_of(airline, spark).model_dump(), "model": uri, "output": output})
    for function in ("air.aged", "spark_scoring_"):
        plan = plan_job(job)
        (note,) = [note for note in plan.to_dict()["plan"]["notes"] if "another one" in note]
        assert f"current_timestamp (in function {function}" in note
        assert note[:60] in " ".join(plan.explain().split())
        assert [run_job(plan).skipped, run_job(job).skipped] == [False, False]
        spark.sql("DROP FUNCTION IF EXISTS air.aged")


@pytest.fixture
def broken(airline: Airline, spark: SparkSession) -> Iterator[SparkSession]:
    """A session whose planes may be spoilt; they are as before afterwards."""
    before = spark.sql("DESCRIBE HISTORY air.planes LIMIT 1").collect()[0]["version"]
    yield spark
    spark.sql(f"RESTORE TABLE air.planes TO VERSION AS OF {before}")


def job_of(airline: Airline, spark: SparkSession) -> ScoringJob:
    if not spark.catalog.tableExists("air.keys"):
        airline.flights.drop("late").write.format("delta").saveAsTable("air.keys")
    source, output = {"table": "main.air.keys"}, {"table": "main.air.refused"}
    return ScoringJob.from_dict({"model": airline.uri, "source": source, "output": output})


def test_a_key_with_two_rows_is_an_error_and_never_two_rows(airline: Airline, broken: SparkSession) -> None:
    broken.sql("INSERT INTO air.planes SELECT * FROM air.planes WHERE tailnum = 'N3'")
    with pytest.raises(FeatureTableError) as raised:
        run_job(job_of(airline, broken))
    assert "several rows have the same key (tailnum)" in str(raised.value)
    assert "N3" not in str(raised.value)
    assert not broken.catalog.tableExists("air.refused")
    with pytest.raises(needs.RowError, match=r"feature table main.air.planes has several rows for one key"):
        score_batch(airline.flights, airline.uri).collect()


def test_a_feature_that_left_its_table_is_named(airline: Airline, broken: SparkSession) -> None:
    rows = broken.table("air.planes").withColumnRenamed("seats", "seat_count")
    folder = broken.sql("DESCRIBE DETAIL air.planes").collect()[0]["location"]
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(folder)
    with pytest.raises(RequestError) as raised:
        plan_job(job_of(airline, broken))
    assert "feature table main.air.planes: the table has no feature column 'seats' (any more)" in str(raised.value)
    assert "fix: did you mean seat_count?" in str(raised.value)


def test_an_empty_feature_table_gives_nulls_and_defaults(airline: Airline, broken: SparkSession) -> None:
    broken.sql("DELETE FROM air.planes")
    scored = airline.client.score_batch(model_uri=airline.uri, df=airline.flights)
    rows = scored.select("seats", "age").distinct().collect()
    assert [tuple(row) for row in rows] == [(None, 10.0)]
    assert scored.count() == 300
    empty = "feature table main.air.planes is empty: what is looked up in it is null, or its default"
    assert empty in plan_job(job_of(airline, broken)).scoring.notes


@pytest.mark.long
def test_an_incremental_job_looks_up_what_is_there_when_a_batch_begins(airline: Airline, broken: SparkSession) -> None:
    keys = airline.flights.drop("late")
    keys.where("flight_id < 100").write.format("delta").saveAsTable("air.arriving")
    output = {"table": "main.air.arrived", "keep": ["flight_id", "seats"]}
    job = ScoringJob.from_dict(
        {"model": airline.uri, "source": {"table": "main.air.arriving"}, "output": output, "incremental": True}
    )
    assert run_job(job).rows_in == 100
    broken.sql("UPDATE air.planes SET seats = 7")
    keys.where("flight_id >= 100").write.format("delta").mode("append").saveAsTable("air.arriving")
    assert run_job(job).rows_in == 200
    rows = broken.table("air.arrived").select("flight_id", "seats").collect()
    assert len(rows) == 300
    assert {row["seats"] for row in rows if row["flight_id"] >= 100} == {7, None}
    assert 7 not in {row["seats"] for row in rows if row["flight_id"] < 100}


def test_all_that_is_wrong_with_the_keys_comes_at_once(airline: Airline, spark: SparkSession) -> None:
    wrong = airline.flights.selectExpr(
        "CAST(flight_id AS bigint) AS tailnum", "origin AS orign", "sched_dep", "distance"
    )
    with pytest.raises(RequestError) as raised:
        plan_scoring(airline.uri, wrong)
    text = str(raised.value)
    assert "lookup key 'tailnum': the scored table's is bigint, that of feature table main.air.planes" in text
    assert "lookup key 'origin': the table has no such column, by which the model looks up or computes" in text
    assert "did you mean orign?" in text


def test_a_feature_table_that_is_gone_is_named(airline: Airline, spark: SparkSession) -> None:
    spark.sql("ALTER TABLE air.weather RENAME TO air.wether")
    try:
        with pytest.raises(RequestError) as raised:
            plan_scoring(airline.uri, airline.flights)
    finally:
        spark.sql("ALTER TABLE air.wether RENAME TO air.weather")
    assert "feature table main.air.weather: no such table\n   fix: did you mean main.air.wether" in str(raised.value)


@pytest.mark.parametrize(
    ("type_", "holds"), [("smallint", False), ("boolean", False), ("bigint", True), ("double", True)]
)
def test_a_prediction_is_cast_to_what_holds_it_only(airline: Airline, type_: str, holds: bool) -> None:  # noqa: FBT001
    assert plan_scoring(airline.uri, airline.flights).outputs[0].type in ("int", "bigint")
    if holds:
        assert airline.client.score_batch(model_uri=airline.uri, df=airline.flights, result_type=type_).columns
        return
    with pytest.raises(ModelError, match=f"result_type {type_}: it cannot hold the model's predictions"):
        airline.client.score_batch(model_uri=airline.uri, df=airline.flights, result_type=type_)


def test_a_column_of_the_predictions_name_is_refused_whatever_its_case(airline: Airline) -> None:
    with pytest.raises(OutputError, match="output column prediction: two columns would have this name"):
        airline.client.score_batch(model_uri=airline.uri, df=airline.flights.selectExpr("*", "1 AS Prediction"))


class Recorder:
    """Stands in for Databricks' client, which cannot run here: keeps what it is given, predicts a constant."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def score_batch(self, *, model_uri: str, df: DataFrame, result_type: str) -> DataFrame:
        self.calls.append({"model_uri": model_uri, "types": dict(df.dtypes), "result_type": result_type})
        return df.selectExpr("*", f"CAST(1 AS {result_type}) AS prediction")


def test_databricks_engine_gets_cast_columns_and_an_explicit_result_type(airline: Airline, spark: SparkSession) -> None:
    job = {**job_of(airline, spark).model_dump(), "engine": "databricks", "output": {"table": "main.air.delegated"}}
    rows = {"table": "main.air.keys", "where": "flight_id < 50"}
    policy, columns = {"distance": {"nulls": "bad_row"}}, {"distance": "nullif(distance, 1000)"}
    settings = {"source": rows, "policy": policy, "columns": columns}
    plan = plan_job(ScoringJob.from_dict({**job, **settings}))
    recorder = Recorder()
    report = run_job(replace(plan, client=Delegation(client=recorder)))
    (call, *_) = recorder.calls
    assert (call["model_uri"], call["result_type"]) == (airline.uri, plan.scoring.outputs[0].type)
    assert call["types"]["distance"] == "double"
    assert {call["types"][key] for key in ("tailnum", "origin")} == {"string"}
    written = spark.table("air.delegated")
    assert dict(written.dtypes)["distance"] == "decimal(7,1)"
    bad = written.where("scoring_error IS NOT NULL").selectExpr("distance", "prediction", "scoring_error").collect()
    assert [tuple(map(str, row)) for row in bad] == [("1000.0", "None", "distance: null")] * report.bad_rows
    assert written.where("prediction = 1").count() == 50 - report.bad_rows


def test_both_engines_give_the_same_predictions(airline: Airline, spark: SparkSession) -> None:
    job = job_of(airline, spark).model_dump()
    tables = {}
    for engine in ("spark_scoring", "databricks"):
        output = {"table": f"main.air.by_{engine}", "keep": ["flight_id", "age", "distance"]}
        run_job(ScoringJob.from_dict({**job, "engine": engine, "output": output}))
        columns = ("flight_id", "age", "distance", "prediction", "scoring_error")
        tables[engine] = sorted(map(str, spark.table(f"air.by_{engine}").select(*columns).collect()))
    assert tables["spark_scoring"] == tables["databricks"]


@pytest.mark.long
def test_another_engine_is_another_run_and_columns_may_differ_in_case(airline: Airline, spark: SparkSession) -> None:
    spark.table("air.keys").withColumnRenamed("distance", "DISTANCE").write.format("delta").saveAsTable("air.loud")
    job = {**job_of(airline, spark).model_dump(), "source": {"table": "main.air.loud"}}
    output = {"table": "main.air.by_turns", "mode": "overwrite"}
    runs = [
        run_job(ScoringJob.from_dict({**job, "engine": engine, "output": output}))
        for engine in ("spark_scoring", "databricks", "databricks")
    ]
    assert [run.skipped for run in runs] == [False, False, True]


def test_files_that_are_gone_may_be_a_feature_tables(airline: Airline, spark: SparkSession) -> None:
    rows = spark.table("air.planes")
    try:
        plan = plan_job(job_of(airline, spark))
        gone = Path(spark.sql("DESCRIBE DETAIL air.planes").collect()[0]["location"].removeprefix("file:"))
        for file in gone.glob("*.parquet"):
            file.rename(file.with_suffix(".gone"))
        with pytest.raises(RunError, match=r"\(or a feature table: main.air.planes, main.air.weather\): files"):
            run_job(plan)
    finally:
        for file in gone.glob("*.gone"):
            file.rename(file.with_suffix(".parquet"))
    assert rows.count() == 20


def test_databricks_engine_says_what_it_cannot(airline: Airline, spark: SparkSession) -> None:
    job = {**job_of(airline, spark).model_dump(), "engine": "databricks", "predict": ["predict", "predict_proba"]}
    with pytest.raises(RequestError, match="a feature client only predicts"):
        plan_job(ScoringJob.from_dict(job))
    folder = resolve_model(airline.uri).path
    with pytest.raises(RequestError, match="what this URI leads to may be another one by then"):
        plan_job(ScoringJob.from_dict({**job, "predict": ["predict"], "model": folder}))
