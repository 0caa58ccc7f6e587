"""What differs between the versions of Spark and Delta that jobs run on: Spark 3.5, 4.0 and 4.1."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_DELTA = {"3.5": "delta-spark_2.12:3.3.3", "4.0": "delta-spark_2.13:4.0.1"}
"""Delta's jars for versions of Spark. From Delta 4.1 on their name has the version of Spark in it."""
_UNNAMED = {"_LEGACY_ERROR_TEMP_1013": "EXPECT_TABLE_NOT_VIEW"}
"""Conditions without a name in Spark 3.5 -> what Spark 4 calls them."""
_AUTO_MERGE = "spark.databricks.delta.schema.autoMerge.enabled"


def delta_package(spark_version: str) -> str:
    """Delta's jars for a version of Spark, as ``--packages`` takes them."""
    minor = ".".join(spark_version.split(".")[:2])
    return f"io.delta:{_DELTA.get(minor, f'delta-spark_{minor}_2.13:4.4.0')}"


def condition_of(error: Exception) -> str:
    """The name of the condition that Spark raised, such as TABLE_OR_VIEW_NOT_FOUND; empty where it has none."""
    ask = getattr(error, "getCondition", None) or getattr(error, "getErrorClass", None)  # the name until Spark 3.5
    name = str(ask() or "") if ask is not None else ""
    return _UNNAMED.get(name, name)


def merge_adding_columns(spark: SparkSession) -> tuple[str, dict[str, str]]:
    """How a MERGE begins that may add columns to its table, and the settings that it needs.

    Delta 3.3 has a setting only; Delta 4.0 has the words, too, but not for columns that are listed. Databricks has the
    words, and its serverless compute no such setting.
    """
    if _version(spark) >= (4, 1) or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return "MERGE WITH SCHEMA EVOLUTION INTO", {}
    return "MERGE INTO", {_AUTO_MERGE: "true"}


def overwrites_by_name(spark: SparkSession) -> bool:
    """Whether an overwrite may name its table: from 3.5.6 on, Spark 3.5 does not let Delta (delta-io/delta#4671)."""
    return not (3, 5, 6) <= _version(spark) < (3, 6)


def has_sql_functions(spark: SparkSession) -> bool:
    """Whether a function may be made of SQL. Those of Databricks may on Spark 3.5, too."""
    return _version(spark) >= (4,)


def _version(spark: SparkSession) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", spark.version)[:3])


def takes_arrow_tables(df: DataFrame) -> bool:
    """Whether a DataFrame becomes an Arrow table on the driver, and can be made of one, as from Spark 4.0 on."""
    return hasattr(df, "toArrow")


def to_arrow_table(df: DataFrame) -> pa.Table:
    """The rows in Arrow, on the driver. Runs a job."""
    if takes_arrow_tables(df):
        return df.toArrow()
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    batches = df._collect_as_arrow()  # type: ignore[operator]  # noqa: SLF001  there is no public way
    return pa.Table.from_batches(batches, schema=None if batches else to_arrow_schema(df.schema))
