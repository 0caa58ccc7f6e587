"""Ivy looks for the jars of a local session's packages once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_scoring.jars import keep_jars, known_jars
from spark_scoring.session import _launch_conf

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = "spark.jars.packages"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def jars(tmp_path: Path) -> str:
    """As Spark tells them, from a folder with a blank."""
    folder = tmp_path / "ivy jars"
    folder.mkdir()
    for name in ("a.jar", "b.jar"):
        (folder / name).touch()
    return ",".join(f"file://{folder}/{name}".replace(" ", "%20") for name in ("a.jar", "b.jar"))


def test_jars_are_known_while_all_of_them_are_there(jars: str, tmp_path: Path) -> None:
    assert known_jars("delta:1") is None
    keep_jars("delta:1", jars)
    assert known_jars("delta:1") == jars
    assert known_jars("delta:2") is None
    (tmp_path / "ivy jars" / "b.jar").unlink()
    assert known_jars("delta:1") is None


def test_jars_of_the_users_own_settings_are_not_kept(jars: str, tmp_path: Path) -> None:
    (tmp_path / "own.jar").touch()
    keep_jars("delta:1", f"{jars},file://{tmp_path}/own.jar")
    assert known_jars("delta:1") is None


def test_nothing_is_kept_where_the_cache_is_not_private(jars: str, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    keep_jars("delta:1", jars)
    assert known_jars("delta:1") is None


def test_a_session_starts_with_the_jars_that_were_found_for_delta_alone(jars: str, tmp_path: Path) -> None:
    packages = _launch_conf(tmp_path, {}).get(PACKAGES)
    assert packages
    keep_jars(packages, jars)
    known = _launch_conf(tmp_path, {})
    assert (known.get(PACKAGES), known.get("spark.jars")) == ("", jars)
    for wanted in ({PACKAGES: "org:other:1"}, {"spark.jars": "/x.jar"}, {"spark.jars.ivy": "/ivy"}):
        asked = _launch_conf(tmp_path, wanted)
        assert asked.get(PACKAGES, "").startswith(packages), wanted
        assert asked.get("spark.jars") != jars
