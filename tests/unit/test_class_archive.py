"""Java's archive of classes: who uses it, what stays the user's, and when there can be none."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from spark_scoring.class_archive import archive_place, from_archive, into_archive, settings_in_the_way
from tests.needs import PYTHON_PATH

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = "SPARK_SUBMIT_OPTS"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive in a cache of the test's own."""
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(OPTIONS, raising=False)
    place = archive_place()
    place.write_bytes(b"")
    return place


def test_a_process_that_is_launched_meanwhile_uses_it(archive: Path) -> None:
    with from_archive():
        assert f"-XX:SharedArchiveFile={archive} " in os.environ[OPTIONS]
    assert OPTIONS not in os.environ


def test_without_one_nothing_is_set(archive: Path) -> None:
    archive.unlink()
    with from_archive():
        assert OPTIONS not in os.environ


def test_the_users_own_options_stay(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, "-Dmine=1")
    with from_archive():
        assert os.environ[OPTIONS].split()[:2] == ["-Dmine=1", f"-XX:SharedArchiveFile={archive}"]
    assert os.environ[OPTIONS] == "-Dmine=1"
    monkeypatch.setenv(OPTIONS, "-XX:SharedArchiveFile=/mine.jsa")
    with from_archive():
        assert os.environ[OPTIONS] == "-XX:SharedArchiveFile=/mine.jsa"


def test_what_writes_one_does_not_read_one(archive: Path, tmp_path: Path) -> None:
    with into_archive(tmp_path / "new.jsa"), from_archive():
        assert f"-XX:ArchiveClassesAtExit={tmp_path / 'new.jsa'} " in os.environ[OPTIONS]
        assert str(archive) not in os.environ[OPTIONS]


def test_another_java_has_another_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/opt/another-java")
    assert archive_place() != archive


def prepare(**environment: str) -> str:
    """What the command says when it refuses."""
    command = [sys.executable, "-c", "from spark_scoring.cli import main; main()", "prepare"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK_", "SPARK_"))}
    done = subprocess.run(
        command, env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    return done.stderr


def test_a_folder_of_settings_is_named_that_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert settings_in_the_way() is None
    (tmp_path / "spark-defaults.conf").write_text("spark.ui.enabled false\n")
    told = prepare(SPARK_CONF_DIR=str(tmp_path), PYTHONPATH=PYTHON_PATH)
    assert f"Spark's settings folder {tmp_path} holds files" in told


def test_where_spark_is_not_local_there_is_nothing_to_prepare() -> None:
    assert "no local Spark session would start here" in prepare(SPARK_REMOTE="sc://localhost:1", PYTHONPATH=PYTHON_PATH)
