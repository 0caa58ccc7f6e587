"""Fixtures for tests of your own models and jobs: ``pytest_plugins = ["spark_scoring.pytest_plugin"]``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def scoring_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The active Spark session; where there is none, a local one with Delta, on a warehouse folder of these tests."""
    from pyspark.sql import SparkSession

    from spark_scoring.session import get_session

    active = SparkSession.getActiveSession()
    session = active or get_session(tmp_path_factory.mktemp("warehouse"))
    yield session
    if active is None:
        session.stop()


@pytest.fixture(scope="session")
def scoring_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an empty sqlite registry, which is MLflow's tracking server and registry while the tests run."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment(f"tests-{uuid.uuid4().hex}", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment(experiment_id=experiment)
    yield uri
    for put_back, own in zip((mlflow.set_tracking_uri, mlflow.set_registry_uri), before, strict=True):
        put_back(own)


@pytest.fixture
def scoring_schema(scoring_spark: SparkSession) -> Iterator[str]:
    """The name of a new schema for one test's tables and feature tables, which go with it."""
    name = f"test_{uuid.uuid4().hex}"
    scoring_spark.sql(f"CREATE SCHEMA {name}")
    yield name
    scoring_spark.sql(f"DROP SCHEMA {name} CASCADE")
