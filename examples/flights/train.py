"""Train the demo's model on January to September and register it as the champion."""

from __future__ import annotations

import datetime as dt
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING

import mlflow
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature

import spark_scoring as ss
from examples.flights.prepare import DATA, DEPARTURES, LATE, PLANE_FEATURES, TRAINING, WEATHER_FEATURES

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from pyspark.sql import SparkSession

    from spark_scoring.features.local_client import TrainingSet

MODEL = "main.flights.delay"
ALIAS = "champion"
REGISTRY = f"sqlite:///{DATA / 'mlflow.db'}"
_EXPERIMENT = "flights"

FEATURES = {
    "dep_hour": "INT",
    "dep_minute": "INT",
    "day_of_week": "INT",
    "is_weekend": "BOOLEAN",
    "departures_in_hour": "BIGINT",
    "distance": "DOUBLE",
    "seats": "DOUBLE",
    "engines": "FLOAT",
    "plane_age": "FLOAT",
    "temp": "DOUBLE",
    "dewp": "FLOAT",
    "humid": "DOUBLE",
    "wind_dir": "FLOAT",
    "wind_speed": "FLOAT",
    "gusty": "DOUBLE",
    "precip": "DOUBLE",
    "pressure": "DOUBLE",
    "visib": "DOUBLE",
    "carrier_late_rate": "DOUBLE",
}
"""Feature to the SQL type that the model is trained on, in its order. An integer or boolean one is never null."""
COLUMNS = {"dep_hour": "sched_dep_time div 100"}
"""Features that are no column of the table: their SQL expression, as in score.yml."""
LOOKUPS = (
    ss.FeatureLookup(PLANE_FEATURES, "tailnum", feature_names=["seats", "engines", "built"]),
    ss.FeatureLookup(
        WEATHER_FEATURES,
        "origin",
        timestamp_lookup_key="sched_dep",
        lookback_window=dt.timedelta(hours=3),
    ),
    ss.FeatureFunction(
        udf_name="flights.plane_age", input_bindings={"flown": "year", "built": "built"}, output_name="plane_age"
    ),
)
_PLANE_AGE = "(flown INT, built INT) RETURNS INT RETURN flown - built"


def use_registry() -> None:
    """Point MLflow to the demo's own sqlite file and artifact folder, whatever the environment names."""
    DATA.mkdir(exist_ok=True)
    mlflow.set_tracking_uri(REGISTRY)
    mlflow.set_registry_uri(REGISTRY)
    if mlflow.get_experiment_by_name(_EXPERIMENT) is None:
        mlflow.create_experiment(_EXPERIMENT, artifact_location=(DATA / "artifacts").as_uri())
    mlflow.set_experiment(_EXPERIMENT)


def train(spark: SparkSession) -> tuple[str, str]:
    """Train on the flights with a known arrival, make that model the champion; its registered name and version."""
    training_set = _training_set(spark)
    frame = _training_frame(training_set)
    features, late = frame[list(FEATURES)], frame["late"]
    model = _classifier().fit(features, late)
    number = _register(model, features, training_set)
    mlflow.MlflowClient().set_registered_model_alias(MODEL, ALIAS, number)
    return MODEL, number


def _training_set(spark: SparkSession) -> TrainingSet:
    """The flights with a known arrival, their features looked up; the model is given ``FEATURES`` alone."""
    spark.sql(f"CREATE OR REPLACE FUNCTION flights.plane_age{_PLANE_AGE}")
    known = spark.table(DEPARTURES).where(TRAINING).where("arr_delay IS NOT NULL")
    own = known.selectExpr("*", *[f"{sql} AS {name}" for name, sql in COLUMNS.items()], f"CAST({LATE} AS INT) AS late")
    others = [name for name in (*own.columns, "built") if name not in (*FEATURES, "late")]
    training_set: TrainingSet = ss.feature_client().create_training_set(
        df=own, feature_lookups=list(LOOKUPS), label="late", exclude_columns=others
    )
    return training_set


def _training_frame(training_set: TrainingSet) -> pd.DataFrame:
    """Features in the model's types and ``late`` as 0 or 1, sorted: the order of the rows is part of the result."""
    columns = [f"CAST({name} AS {type_}) AS {name}" for name, type_ in FEATURES.items()]
    rows = training_set.load_df().selectExpr(*columns, "late").orderBy(*FEATURES, "late")
    frame: pd.DataFrame = rows.toArrow().to_pandas()
    return frame


def _classifier() -> LGBMClassifier:
    """The same trees on each run: seeded, and two threads whatever the machine, as sums depend on their number."""
    return LGBMClassifier(
        n_estimators=200,
        learning_rate=0.05,
        num_leaves=63,
        min_child_samples=200,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        random_state=7,
        n_jobs=2,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )


def _register(model: LGBMClassifier, features: pd.DataFrame, training_set: TrainingSet) -> str:
    example = features.head(5)
    with mlflow.start_run():
        info = ss.feature_client().log_model(
            model=model,
            artifact_path="model",
            flavor=mlflow.lightgbm,
            training_set=training_set,
            signature=_signature(model, example),
            input_example=example,
            pip_requirements=_requirements(),
            registered_model_name=MODEL,
        )
    return str(info.registered_model_version)


def _requirements() -> list[str]:
    """What loading and predicting need; MLflow's own guess takes a while and finds packages that they do not."""
    return [f"{name}=={version(name)}" for name in ("lightgbm", "numpy", "pandas", "scikit-learn", "skops")]


def _signature(model: LGBMClassifier, example: pd.DataFrame) -> ModelSignature:
    """Without MLflow's warning that an integer column may come to hold nulls: the schedule has none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*integer column", category=UserWarning)
        return infer_signature(example, model.predict(example))
