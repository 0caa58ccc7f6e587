"""Train the demo's model on January to September and register it as the champion, as train.yml says."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow

import spark_scoring as ss
from examples.flights.prepare import DATA

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB = Path(__file__).with_name("train.yml")
ALIAS = "champion"
REGISTRY = f"sqlite:///{DATA / 'mlflow.db'}"


def use_registry() -> None:
    """Point MLflow to the demo's own sqlite file, whatever the environment names."""
    DATA.mkdir(exist_ok=True)
    mlflow.set_tracking_uri(REGISTRY)
    mlflow.set_registry_uri(REGISTRY)


def training_job() -> ss.TrainingJob:
    """The job of train.yml, from wherever the demo was started."""
    places = {"tracking_uri": REGISTRY, "registry_uri": REGISTRY, "artifact_location": DATA / "artifacts"}
    return ss.TrainingJob.from_yaml(JOB, [f"{name}={place}" for name, place in places.items()])


def train(spark: SparkSession) -> ss.RegisteredModel:
    """Train and register; the model's requirements are named, since MLflow's own search for them takes a while."""
    needed = [f"{name}=={version(name)}" for name in ("lightgbm", "numpy", "pandas", "scikit-learn", "skops")]
    return ss.run_training(training_job().model_copy(update={"pip_requirements": tuple(needed)}), spark)
