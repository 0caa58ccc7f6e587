"""The Spark that the tests run with, and what older ones lack: tests that need it are skipped, with the reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import SparkRuntimeException

if TYPE_CHECKING:
    from collections.abc import Iterable

PYTHON_PATH = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
"""For processes of a test's own: this checkout, and the Spark that the tests run with (tools/versions.sh)."""

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For ``JDK_JAVA_OPTIONS`` of a process that lives for seconds: Java's thorough compiler would be half of its CPU."""

SPARK = tuple(int(part) for part in pyspark.__version__.split(".")[:2])
IS_SPARK_4 = SPARK >= (4, 0)
RowError: type[Exception] = SparkRuntimeException if IS_SPARK_4 else Py4JJavaError
"""What a row that Spark cannot compute raises on the driver."""


def _from_spark_4(what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not IS_SPARK_4, reason=f"Spark {pyspark.__version__} has no {what}")


sql_functions = _from_spark_4("functions made of SQL")
session_variables = _from_spark_4("session variables")
variant = _from_spark_4("VARIANT")
replaced_tables = _from_spark_4("CREATE OR REPLACE TABLE ... AS SELECT for Delta's paths")
data_sources = _from_spark_4("data sources made in Python")
arrow_tables = _from_spark_4("DataFrames of Arrow tables")


def prepared_cache(folder: Path) -> str:
    """A new cache with what tools/setup.sh has prepared: where Delta's jars are, and Java's archive of classes."""
    own = folder / f"user-{os.getuid()}"
    own.mkdir(mode=0o700, parents=True)
    for prepared in (Path(sys.prefix) / "cache" / own.name).glob("*-*"):
        (own / prepared.name).symlink_to(prepared)
    return str(folder)


def environment_apart(**more: str) -> dict[str, str]:
    """For a process of a test's own: none of this one's Spark and MLflow but the cache, for Java to start fast."""
    ours = ("PYSPARK", "SPARK", "MLFLOW")
    kept = {k: v for k, v in os.environ.items() if k == "SPARK_SCORING_CACHE" or not k.startswith(ours)}
    return {**kept, "PYTHONPATH": PYTHON_PATH, **more}


def in_short(count: int, values: Iterable[object]) -> list[object]:
    """Values of a parameter: the first ones are for every run of the tests, the others are `long`."""
    every = list(values)
    rest = (value if isinstance(value, tuple) else (value,) for value in every[count:])
    return [*every[:count], *(pytest.param(*value, marks=pytest.mark.long) for value in rest)]
