"""A server of Spark Connect that is not there, and a client that lacks something: said soon, with the cause."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from spark_scoring import connect
from spark_scoring.delta.errors import SessionError
from tests.needs import IS_SPARK_4, PYTHON_PATH


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TOLD_AFTER_SECONDS", 1)
    monkeypatch.setattr(connect, "LEFT_AFTER_SECONDS", 2)


def test_a_server_that_is_not_there_is_told_of_and_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SessionError, match="did not answer for 2 seconds: Connection refused") as raised:
        connect.session_of(f"sc://127.0.0.1:{port}/;token=secret")
    assert "still waiting" in caplog.text
    assert f"sc://127.0.0.1:{port}" in str(raised.value)
    assert "secret" not in caplog.text + str(raised.value)


def test_another_server_is_not_one_of_spark_connect() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SessionError, match="something else than a Spark Connect server listens there"),
    ):
        connect.session_of(f"sc://127.0.0.1:{silent.getsockname()[1]}")


_GET = """
import sys
if "no grpc" in sys.argv:
    sys.modules["grpc"] = None
import spark_scoring as ss
from spark_scoring.session import starts_jvm
assert not starts_jvm()
try:
    ss.get_session()
except ss.ScoringError as error:
    print(error)
"""


def _told(*arguments: str, **environment: str) -> str:
    """What a process without a session says that asks for one."""
    command = [sys.executable, "-c", _GET, *arguments]
    variables = {**{k: v for k, v in os.environ.items() if k != "SPARK_REMOTE"}, "PYTHONPATH": PYTHON_PATH}
    done = subprocess.run(command, env=variables | environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_client_without_its_packages_names_the_extra() -> None:
    told = _told("no grpc", SPARK_REMOTE="sc://127.0.0.1:1")
    assert "[PACKAGE_NOT_INSTALLED] grpcio" in told
    assert "fix: pip install 'spark-scoring[connect]'" in told


@pytest.mark.skipif(not IS_SPARK_4, reason="Spark 3.5 has no client apart")
def test_the_thin_client_wants_a_server_and_no_java() -> None:
    told = _told(SPARK_SKIP_CONNECT_COMPAT_TESTS="1")  # PySpark then takes itself for the client alone
    assert "only the client of Spark Connect is installed here (pyspark-client), and no server is named" in told
    assert "fix: set SPARK_REMOTE=sc://" in told
