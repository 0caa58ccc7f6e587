"""A server of Spark Connect that is not there, and a client that lacks something: said soon, with the cause."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from spark_scoring import connect
from spark_scoring.cli import main, output
from spark_scoring.cli.spark import settings_of
from spark_scoring.delta.session_errors import SessionError
from tests.needs import IS_SPARK_4, PYTHON_PATH

if TYPE_CHECKING:
    from pathlib import Path


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
    assert "fix: give --remote sc://<host>:15002, or set SPARK_REMOTE to it" in told


URLS = {
    "host:15002": "it does not begin with sc://",
    "http://host:15002": "it does not begin with sc://",
    "sc:/host:15002": "it does not begin with sc://",
    "spark://host:7077": "it does not begin with sc://",
    "sc://": "it names no host",
    "sc://:15002": "it names no host",
    "sc://host:port": "its port is not a number",
    "sc://host:99999": "its port is not a number",
    "sc://host:0": "its port is not a number",
    "sc://host:1?token=hunter2": "its host is followed by something else",
    "sc://anna:hunter2@host:1": "its host is followed by something else",
    "sc://host;token=hunter2": "its host is followed by something else",
    "sc://host:1/token=hunter2": "what follows its host is not of the form",
    "sc://host:1/;token=hunter2=": "what follows its host is not of the form",
    "sc://host:1/;hunter2": "what follows its host is not of the form",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_is_none_is_told_at_once(url: str) -> None:
    with pytest.raises(SessionError) as raised:
        connect.session_of(url)
    assert URLS[url] in str(raised.value)
    assert "fix: write sc://<host>:15002" in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["sc://host", "sc://host:15002", "sc://host/", "sc://[::1]:1", "sc://h:443/;use_ssl=true;token=a", "local[2]"],
)
def test_urls_that_pyspark_takes_are_taken(url: str) -> None:
    connect.check_server(url)
    if url.startswith("sc"):
        from pyspark.sql.connect import client

        builder = getattr(client, "DefaultChannelBuilder", None) or client.ChannelBuilder
        assert builder(url).endpoint


COMMANDS = [
    ["init", "models:/m/1", "t"],
    ["plan", "job.yml"],
    ["preview", "job.yml"],
    ["score", "job.yml"],
    ["compare", "job.yml", "--with", "models:/m/2"],
    ["promote", "comparison.json", "--alias", "champion"],
    ["evaluate", "t", "--labels", "l", "--key", "id"],
    ["register", "train.yml"],
    ["repair", "models:/m/1", "--example", "t"],
    ["history", "t"],
    ["rollback", "t", "1234"],
]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.yml").write_text("{model: m, source: s, output: o}")
    (tmp_path / "train.yml").write_text("{name: m, task: regression, source: t, features: x, estimator: 'a:b'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARK_REMOTE", "sc://before")


def told_by(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert os.environ["SPARK_REMOTE"] == "sc://before"
    return capsys.readouterr().err


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_with_spark_takes_a_server(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = told_by([*command, "--remote", "host:15002/;token=hunter2"], capsys)
    assert "Spark Connect server host:15002/;token=***: it does not begin with sc://" in told


@pytest.mark.usefixtures("in_folder")
def test_a_server_is_that_of_one_command_alone() -> None:
    with output.streams:  # as main has them
        assert settings_of(["driver.memory=8g"], "sc://host:1") == {"spark.driver.memory": "8g"}
        assert os.environ["SPARK_REMOTE"] == "sc://host:1"
    assert os.environ["SPARK_REMOTE"] == "sc://before"


@pytest.mark.usefixtures("in_folder")
def test_a_server_and_a_master_are_two_places(capsys: pytest.CaptureFixture[str]) -> None:
    told = told_by(["plan", "job.yml", "--remote", "sc://host", "--spark", "master=local[2]"], capsys)
    assert "--remote and --spark master: one says that Spark runs on a server" in told


@pytest.mark.usefixtures("in_folder")
def test_a_task_of_databricks_has_its_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert "--remote: a task on Databricks has the session" in told_by(
        ["plan", "job.yml", "--remote", "sc://h"], capsys
    )


def test_a_server_of_the_command_line_that_is_not_there_is_named(tmp_path: Path) -> None:
    """In a process of its own, which has no session yet; the variable names another server."""
    code = "from spark_scoring import connect; connect.TOLD_AFTER_SECONDS, connect.LEFT_AFTER_SECONDS = 0.5, 1; "
    code += "from spark_scoring.cli import main; main()"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"sc://127.0.0.1:{closed.getsockname()[1]}"
    command = [sys.executable, "-c", code, "history", "t", "--remote", f"{server}/;token=hunter2"]
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH, "SPARK_REMOTE": "sc://other:1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        f"Spark Connect server {server}/;token=***: it did not answer for 1 seconds: Connection refused" in done.stderr
    )
    assert "fix: check --remote or SPARK_REMOTE" in done.stderr
    assert "hunter2" not in done.stderr
