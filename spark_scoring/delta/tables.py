"""What a session knows of a table: its details, its history, its rows at a version."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.session_errors import SessionError
from spark_scoring.errors import first_line
from spark_scoring.spark_versions import condition_of, delta_package, overwrites_by_name
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

    from spark_scoring.delta.names import TableRef


VIEW = "view"
"""The format of a view, as ``describe_table`` says it."""


def read_version(spark: SparkSession, ref: TableRef, version: int) -> DataFrame:
    """The table as it was at a version."""
    reader = spark.read.option("versionAsOf", version)
    return reader.table(ref.sql) if ref.path is None else reader.format("delta").load(ref.path)


def describe_table(spark: SparkSession, ref: TableRef) -> dict[str, Any] | None:
    """``DESCRIBE DETAIL`` as a dict; None where there is no table; format ``view`` for a view."""
    try:
        return spark.sql(f"DESCRIBE DETAIL {ref.sql}").collect()[0].asDict()
    except AnalysisException as error:
        condition = condition_of(error)
        if "`DETAIL`" in first_line(error) and "DETAIL" not in ref.sql:  # a Spark without Delta takes it for a table
            raise SessionError.no_delta_jars(spark.version, delta_package(spark.version)) from error
        if "NOT_FOUND" in condition or "DOES_NOT_EXIST" in condition or "MISSING" in condition:
            return None
        if "VIEW" in condition:
            return {"format": VIEW, "id": None}
        raise
    except Exception as error:  # what a file system's own classes raise comes through as it is
        raise SourceError.no_storage(ref.text, first_line(error)) from error


def save_over(writer: DataFrameWriter, spark: SparkSession, ref: TableRef) -> None:
    """Write to a table that exists, in any mode. Runs the job."""
    path = ref.path
    if path is None and not overwrites_by_name(spark):
        path = str((describe_table(spark, ref) or {})["location"])
    if path is None:
        writer.saveAsTable(ref.sql)
    else:
        writer.save(path)


def is_delta(spark: SparkSession, ref: TableRef) -> bool:
    """Whether a Delta table is there."""
    detail = describe_table(spark, ref)
    return detail is not None and detail["format"] == "delta"


def history(spark: SparkSession, ref: TableRef, limit: int | None = None) -> DataFrame:
    """The table's history, newest first."""
    tail = "" if limit is None else f" LIMIT {int(limit)}"
    return spark.sql(f"DESCRIBE HISTORY {ref.sql}{tail}")


def tables_near(spark: SparkSession, ref: TableRef) -> list[str]:
    """Names of the tables in the same schema, or where there is none in those of a near name, to say what was meant.

    Spark lists temporary views in every schema. They belong to none: only a name of one part can mean them.
    """
    if not ref.parts:
        return []
    try:
        tables = spark.catalog.listTables(".".join(quote(p) for p in ref.parts[:-1]) or None)
    except AnalysisException:
        return _tables_of_near_schemas(spark, ref)
    prefix = ".".join(ref.text.split(".")[:-1])
    return [f"{prefix}.{t.name}" for t in tables if not t.isTemporary] if prefix else [t.name for t in tables]


def _tables_of_near_schemas(spark: SparkSession, ref: TableRef) -> list[str]:
    if len(ref.parts) != 2:  # noqa: PLR2004  the session's own catalog
        return []
    schemas = {schema.name for schema in spark.catalog.listDatabases()}
    near = difflib.get_close_matches(ref.parts[0].lower(), schemas, cutoff=0.7)
    tables = [(schema, table) for schema in near for table in spark.catalog.listTables(quote(schema))]
    return [f"{schema}.{table.name}" for schema, table in tables if not table.isTemporary]
