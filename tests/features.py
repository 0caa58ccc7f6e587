"""Feature tables of a small airline, and a model trained on lookups in them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from lightgbm import LGBMClassifier

from spark_scoring import FeatureLookup, LocalFeatureClient

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.features.training_set import TrainingSet

PLANES = "main.air.planes"
WEATHER = "main.air.weather"
START = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
LOOKUPS = (
    FeatureLookup(PLANES, "tailnum", feature_names=["seats", "age"], default_values={"age": 10.0}),
    FeatureLookup(
        WEATHER,
        "origin",
        timestamp_lookup_key="sched_dep",
        feature_names=["temp", "gusty"],
        rename_outputs={"temp": "temperature"},
        lookback_window=dt.timedelta(hours=3),
    ),
)
FLIGHTS = "flight_id bigint, tailnum string, origin string, sched_dep timestamp, distance decimal(7,1), late int"


@dataclass(frozen=True)
class Airline:
    """A client, its flights, and what was trained on them."""

    client: LocalFeatureClient
    flights: DataFrame
    training_set: TrainingSet
    model: Any
    uri: str


def flight_rows(n: int = 300, seed: int = 3) -> list[tuple[Any, ...]]:
    """Flights of planes and airports of which some are in no feature table."""
    from decimal import Decimal

    rng = np.random.default_rng(seed)
    return [
        (
            i,
            None if i % 29 == 0 else f"N{rng.integers(0, 25)}",
            str(rng.choice(["EWR", "JFK", "LGA", "XXX"])),
            None if i % 31 == 0 else START + dt.timedelta(minutes=int(rng.integers(-100, 60 * 48))),
            Decimal(int(rng.integers(100, 2000))),
            int(rng.integers(0, 2)),
        )
        for i in range(n)
    ]


def create_tables(spark: SparkSession, client: LocalFeatureClient) -> None:
    """Twenty planes, and two days of hourly weather with gaps at three airports."""
    rng = np.random.default_rng(1)
    planes = [
        (f"N{i}", int(rng.integers(50, 300)), None if i % 7 == 0 else float(rng.integers(0, 30))) for i in range(20)
    ]
    hours = [
        (origin, START + dt.timedelta(hours=h), None if h % 11 == 0 else float(rng.normal(10, 5)), bool(h % 2))
        for origin in ("EWR", "JFK", "LGA")
        for h in range(48)
        if h % 9 < 5
    ]
    client.create_table(
        name=PLANES,
        primary_keys="tailnum",
        df=spark.createDataFrame(planes, "tailnum string, seats smallint, age double"),
        description="one row for each plane",
    )
    client.create_table(
        name=WEATHER,
        primary_keys=["origin", "hour"],
        timeseries_column="hour",
        df=spark.createDataFrame(hours, "origin string, hour timestamp, temp double, gusty boolean"),
    )


def train(client: LocalFeatureClient, flights: DataFrame, name: str) -> Airline:
    """A model on distance, two columns of planes and two of weather, registered under a name."""
    training_set = client.create_training_set(
        df=flights,
        feature_lookups=list(LOOKUPS),
        label="late",
        exclude_columns=["flight_id", "tailnum", "origin", "sched_dep"],
    )
    frame = model_frame(training_set.load_df().where("gusty IS NOT NULL").toPandas())
    model = LGBMClassifier(n_estimators=8, min_child_samples=5, verbose=-1).fit(
        frame.drop(columns="late"), frame["late"]
    )
    info = client.log_model(
        model=model,
        artifact_path="model",
        flavor=mlflow.lightgbm,
        training_set=training_set,
        registered_model_name=name,
        infer_input_example=True,
        pip_requirements=["lightgbm"],
    )
    return Airline(client, flights, training_set, model, f"models:/{name}/{info.registered_model_version}")


def model_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Right-typed features, as the model is trained on."""
    types = {"distance": "float64", "seats": "float64", "age": "float64", "temperature": "float64", "gusty": "bool"}
    return frame.astype({name: type_ for name, type_ in types.items() if name in frame})
