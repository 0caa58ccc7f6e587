"""Registries and training frames for the registration tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 300


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real ``mlflow server`` with its own database and artifacts, spoken to over HTTP."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # else seven more processes poll for jobs all the time
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            uri = f"http://127.0.0.1:{port}"
            _wait_for(f"{uri}/health", process)
            yield uri
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if time.monotonic() > deadline or process.poll() is not None:
            msg = f"the server did not start: exit status {process.poll()}"
            raise RuntimeError(msg)
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  our own server
            return True
    except OSError:
        return False


@pytest.fixture
def frame() -> pd.DataFrame:
    """Doubles with nulls, an integer and a category column."""
    rng = np.random.default_rng(3)
    rows = 200
    return pd.DataFrame(
        {
            "price": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(100, 20, rows)),
            "seats": rng.integers(1, 9, rows),
            "carrier": pd.Categorical(rng.choice(["AA", "DL", "UA"], rows), categories=["UA", "AA", "DL"]),
        }
    )


@pytest.fixture
def numbers() -> pd.DataFrame:
    """Doubles without nulls."""
    rng = np.random.default_rng(4)
    return pd.DataFrame({"a": rng.normal(size=100), "b": rng.normal(size=100)})
