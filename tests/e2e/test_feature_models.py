"""Models trained with feature lookups, scored from keys alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import mlflow
import pytest

from spark_scoring import LocalFeatureClient, ScoringJob, plan_scoring, run_job, score_batch
from spark_scoring.errors import ModelError
from tests.features import FLIGHTS, WEATHER, Airline, create_tables, flight_rows, model_frame, train

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def airline(spark: SparkSession, registry: str) -> Airline:
    client = LocalFeatureClient()
    create_tables(spark, client)
    return train(client, spark.createDataFrame(flight_rows(), FLIGHTS), "main.air.delay")


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
    got = spark.table("air.scored").where("scoring_error IS NULL").orderBy("flight_id").toPandas()
    bad = spark.table("air.scored").where("scoring_error IS NOT NULL").select("scoring_error").distinct().collect()
    keyed = airline.client.score_batch(model_uri=airline.uri, df=airline.flights).orderBy("flight_id").toPandas()
    features = model_frame(keyed[keyed["gusty"].notna()])[["distance", "seats", "age", "temperature", "gusty"]]
    assert (report.rows_in, report.rows_out) == (300, 300)
    assert [row[0] for row in bad] == ["gusty: null"]
    assert got["prediction"].tolist() == airline.model.predict(features).tolist()
    row = spark.sql("DESCRIBE HISTORY air.scored LIMIT 1").collect()[0]
    assert json.loads(row["userMetadata"])["spark_scoring"]["feature_tables"][WEATHER] == 1


def test_a_feature_that_the_table_has_is_not_looked_up(airline: Airline) -> None:
    from pyspark.sql import functions as F  # noqa: N812

    own = airline.flights.withColumn("temperature", F.lit(-99.0)).withColumn("gusty", F.lit(value=True))
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
