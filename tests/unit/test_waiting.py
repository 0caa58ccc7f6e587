"""Servers that do not answer, as real sockets: told of, given up, with the cause."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from spark_scoring.cli import main
from spark_scoring.model import waiting
from spark_scoring.model.errors import ModelError
from spark_scoring.model.registry import resolve_model
from spark_scoring.registration.doctor import check_model
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.register import register_model
from tests.needs import in_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = "models:/main.ml.line/1"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, sooner; and none of the user's own."""
    monkeypatch.setattr(waiting, "TOLD_AFTER_SECONDS", 1)
    monkeypatch.setattr(waiting, "LEFT_AFTER_SECONDS", 2)
    monkeypatch.setattr(waiting, "_KNOCK_SECONDS", 1)
    for name in waiting.OWN_LIMITS:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def listening() -> Iterator[str]:
    """A server that takes connections and never replies."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://bob:secret@127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def swallowing() -> Iterator[str]:
    """A port whose backlog is full: Linux drops the packets of further connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.settimeout(0)
            caller.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for caller in callers:
            caller.close()


@contextmanager
def closed() -> Iterator[str]:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def unknown() -> Iterator[str]:
    """A host that does not resolve."""
    yield "http://registry.invalid:5000"


@contextmanager
def replying(status: int, after: float = 0, **headers: str) -> Iterator[str]:
    """A server that gives every request the same status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(after if "/api/" in self.path else 0)
            self.send_response(status)
            for name, value in {"Content-Length": "2", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (listening(), "Read timed out"),
        (swallowing(), "timed out. (connect timeout"),
        (closed(), "Connection refused"),
        (unknown(), "Failed to resolve 'registry.invalid'"),
        (replying(503), "it replies with HTTP status 503"),
        (replying(503, Retry_After="120"), "it replies with HTTP status 503"),
    ],
    ids=["mute", "swallowing", "closed", "unknown", "busy", "later"],
)
def test_a_registry_that_does_not_answer_is_told_and_given_up(
    caplog: pytest.LogCaptureFixture, place: contextmanager[str], cause: str
) -> None:
    settings = dict(os.environ)
    with place as server:
        began = time.monotonic()
        with pytest.raises(ModelError, match="did not answer for 2 seconds: ") as raised:
            resolve_model(ONE, tracking_uri=server)
    assert time.monotonic() - began < 15
    assert cause in str(raised.value)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" in raised.value.problems[0].fix
    shown = server.replace("bob:secret", "***")
    assert shown in str(raised.value)
    assert [r.getMessage() for r in caplog.records if r.name == "spark_scoring"] == [
        f"{shown} has not answered for 1 seconds; still waiting"
    ]
    assert dict(os.environ) == settings


@pytest.mark.parametrize(
    "uri", in_short(1, ["mlflow-artifacts:/line", "runs:/0123456789abcdef/line", f"models:/m-{'0' * 32}"])
)
def test_an_artifact_that_does_not_come_is_given_up(uri: str) -> None:
    with (
        listening() as server,
        pytest.raises(ModelError, match="did not answer for 2 seconds: Read timed out") as raised,
    ):
        resolve_model(uri, tracking_uri=server)
    assert "secret" not in str(raised.value)


def test_what_the_user_has_set_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with listening() as server, pytest.raises(ModelError, match="failed with"):  # twice two seconds, by MLflow's count
        resolve_model(ONE, tracking_uri=server)


def test_files_are_waited_for_while_they_grow_or_their_server_replies(tmp_path: Path) -> None:
    def grow() -> str:
        for part in range(4):
            with (tmp_path / "model.bin").open("ab") as file:
                file.write(b"x")
            time.sleep(1 + part * 0.1)
        return "all"

    def stage() -> str:
        time.sleep(4)
        return "at last"

    with closed() as gone, replying(404) as there:
        assert waiting.fetched(grow, gone, tmp_path) == "all"
        assert waiting.fetched(stage, there, tmp_path) == "at last"
        with pytest.raises(waiting.NoAnswer, match="Connection refused"):
            waiting.fetched(stage, gone, tmp_path)


@pytest.mark.parametrize("store", in_short(1, ["sqlite:////data/mlflow.db", "file:/data/mlruns", "/data/mlruns"]))
def test_files_of_this_machine_are_no_server_and_may_be_slow(store: str, caplog: pytest.LogCaptureFixture) -> None:
    def slow() -> str:
        time.sleep(3)
        return "here"

    assert waiting.answer_of(slow, store) == "here"
    assert [record for record in caplog.records if record.name == "spark_scoring"] == []


def test_a_question_that_is_left_behind_holds_up_no_other(registry: str) -> None:
    def ask(server: str) -> str:
        with pytest.raises(ModelError) as raised:
            resolve_model(ONE, tracking_uri=server, registry_uri=server)
        return raised.value.problems[0].cause

    with listening() as mute:
        left = ask(mute)
        began = time.monotonic()
        there = ask(registry)
    assert "did not answer" in left
    assert "did not answer" not in there
    assert time.monotonic() - began < 2


def test_whatever_asks_says_it_alike(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, registry: str
) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    model = LinearRegression().fit(frame, frame["x"])
    with listening() as mute:
        servers: list[dict[str, str]] = [{"tracking_uri": mute}, {"tracking_uri": registry, "registry_uri": mute}]
        for given in servers:
            with pytest.raises(RegistrationError, match="did not answer for 2 seconds") as refused:
                register_model(model, frame, name="main.ml.line", task="regression", **given)
            assert "no version was made" in str(refused.value)
            with pytest.raises(ModelError, match="did not answer for 2 seconds"):
                check_model(ONE, **given)
        caplog.clear()
        with pytest.raises(SystemExit) as ended:
            main(["doctor", ONE, "--tracking-uri", mute])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "did not answer for 2 seconds: Read timed out" in shown
    assert "has not answered for 1 seconds; still waiting" in caplog.text
    assert "secret" not in shown + caplog.text.partition("urllib3")[0]
