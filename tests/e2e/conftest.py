"""A source and an output of a test's own, for the tests of whole jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.models import save_line
from tests.place import BAD, Place

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model that scores the rows of a place."""
    return save_line(str(tmp_path_factory.mktemp("line") / "model"))


@pytest.fixture
def place(spark: SparkSession, line: str, tmp_path: Path) -> Place:
    """Some of its rows are bad."""
    return Place(spark, line, tmp_path, BAD)


@pytest.fixture
def clean(spark: SparkSession, line: str, tmp_path: Path) -> Place:
    """A place without bad rows."""
    return Place(spark, line, tmp_path, ())
