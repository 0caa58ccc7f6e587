"""A short run of the requests of ``leaks``: ``--leaks 500 --leaks-seed 7`` makes it a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.leaks import Leaks

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are not there are given up at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def test_no_request_tells_a_secret(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    leaks = Leaks(tmp_path, pytestconfig.getoption("--leaks-seed"))
    leaks.ask(pytestconfig.getoption("--leaks"))
    assert not leaks.found, f"{len(leaks.found)} leaks in {leaks.asked} requests:\n" + "\n".join(leaks.found[:40])


def test_no_job_tells_a_value_of_a_row(spark: SparkSession, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    leaks = Leaks(tmp_path, pytestconfig.getoption("--leaks-seed"), spark)
    leaks.ask(max(3, pytestconfig.getoption("--leaks") // 20))
    assert not leaks.found, f"{len(leaks.found)} leaks in {leaks.asked} requests:\n" + "\n".join(leaks.found[:40])
