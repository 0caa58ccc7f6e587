"""One Spark session and one MLflow registry for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


_JAVA = "JDK_JAVA_OPTIONS"
_IS_GIVEN = _JAVA in os.environ
"""Whether whoever runs the tests has chosen Java's options, as tools/versions.sh does."""
_LASTING_JAVA = (
    "-XX:+UseSerialGC -XX:Tier4InvocationThreshold=25000 -XX:Tier4MinInvocationThreshold=3000"
    " -XX:Tier4CompileThreshold=75000 -XX:Tier4BackEdgeThreshold=200000"
)
"""Of the session of all tests. Java's thorough compiler pays only for what runs five times as often as by default."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of tests/e2e/test_identity.py and tests/fuzz/test_leaks.py."""
    parser.addoption("--pairs", type=int, default=6, help="pairs of runs that may be the same")
    parser.addoption("--seed", type=int, default=1, help="of what the pairs are drawn from")
    parser.addoption("--leaks", type=int, default=40, help="requests with secrets; a twentieth of them with Spark")
    parser.addoption("--leaks-seed", type=int, default=7, help="of what they are drawn from")


@pytest.fixture(scope="session", autouse=True)
def _isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the user's model cache, or picks up their MLflow settings."""
    from tests.needs import QUICK_JAVA, prepared_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_SCORING_CACHE", prepared_cache(tmp_path_factory.mktemp("model-cache")))
        if not _IS_GIVEN:
            patch.setenv(_JAVA, QUICK_JAVA)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "SPARK_SCORING_WAREHOUSE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of ``get_session``, on a warehouse folder of its own."""
    from spark_scoring.session import get_session

    with pytest.MonkeyPatch.context() as patch:
        if not _IS_GIVEN:
            patch.setenv(_JAVA, _LASTING_JAVA)
        session = get_session(tmp_path_factory.mktemp("warehouse"))
    # Tables of a few rows, looked at very often.
    session.conf.set("spark.databricks.delta.snapshotPartitions", "1")
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a sqlite registry, which is MLflow's default while the tests run."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("tests", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment(experiment_id=experiment)
    return uri
