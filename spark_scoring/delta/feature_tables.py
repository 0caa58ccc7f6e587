"""Feature tables in Delta: their keys, created, written and read at one version.

A local table's keys are table properties; Unity Catalog's are its primary key constraint, which says with
TIMESERIES which of them is the time.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.filled import filled_columns
from spark_scoring.delta.fitting import needing_mapping
from spark_scoring.delta.names import TableRef, resolve, warehouse_path
from spark_scoring.delta.settings import writing_settings
from spark_scoring.delta.stored import (
    PADDING_SETTING,
    as_read,
    has_char,
    keys_as_stored,
    of_new_table,
    padded,
    schema_of_new_table,
    spelled,
)
from spark_scoring.delta.tables import describe_table, history, read_version, save_over, tables_near
from spark_scoring.errors import first_line
from spark_scoring.plan.lookups import FeatureTable
from spark_scoring.spark_versions import merge_adding_columns
from spark_scoring.sql import literal, quote, unformatted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_KEYS = "spark_scoring.primary_keys"
_TIME = "spark_scoring.timeseries_column"
_CONSTRAINT = re.compile(r"PRIMARY KEY \((.*)\)", re.DOTALL)
_CONSTRAINT_COLUMN = re.compile(r"`((?:[^`]|``)+)`(\s+TIMESERIES)?")


def find_feature_table(spark: SparkSession, name: str) -> FeatureTable:
    """A feature table, pinned to its newest version. Reads metadata, no rows.

    Raises:
        FeatureTableError: no such table, or not in Delta.
        TableNameError: not a table name here.

    """
    ref = resolve(spark, table=name)
    detail = describe_table(spark, ref)
    if detail is None:
        raise FeatureTableError.missing(name, tables_near(spark, ref))
    if detail["format"] != "delta":
        raise FeatureTableError.not_delta(name, f"a {detail['format']}")
    keys, time = _keys(spark, ref, detail.get("properties") or {})
    version = int(history(spark, ref, limit=1).collect()[0]["version"])
    empty = f"feature table {name} is empty: what is looked up in it is null, or its default"
    empty = empty if detail.get("numFiles") == 0 else ""
    return FeatureTable(
        name=name,
        schema=read_version(spark, ref, version).schema,
        sql=ref.sql,
        table_id=str(detail["id"]),
        version=version,
        primary_keys=keys,
        timeseries_column=time,
        partitions=tuple(detail.get("partitionColumns") or ()),
        notes=tuple(note for note in (ref.note, empty) if note),
    )


def read_feature_table(spark: SparkSession, table: FeatureTable) -> DataFrame:
    """The table as it was when it was found."""
    ref = TableRef(text=table.name, sql=table.sql)
    return spark.table(table.sql) if table.version is None else read_version(spark, ref, table.version)


def create_feature_table(
    spark: SparkSession,
    name: str,
    schema: StructType,
    *,
    primary_keys: Sequence[str],
    timeseries_column: str | None = None,
    partition_columns: Sequence[str] = (),
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> FeatureTable:
    """Make an empty feature table.

    Raises:
        FeatureTableError: there is such a table already, or the schema lacks a key.

    """
    ref = resolve(spark, table=name)
    if describe_table(spark, ref) is not None:
        raise FeatureTableError.exists(name)
    needed = (*primary_keys, *([] if timeseries_column is None else [timeseries_column]), *partition_columns)
    if lacking := [column for column in needed if column not in schema.fieldNames()]:
        raise FeatureTableError.lacks_columns(name, lacking, schema.fieldNames())
    odd = needing_mapping(schema)
    if odd and (tags or {}).get("delta.columnMapping.mode", "none") == "none":
        raise FeatureTableError.needs_mapping(name, odd)
    properties = {_KEYS: json.dumps(list(primary_keys)), **(tags or {})}
    if timeseries_column is not None:
        properties[_TIME] = timeseries_column
    if len(ref.parts) == 2 and (folder := warehouse_path(spark, ref)) is not None:  # noqa: PLR2004
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quote(ref.parts[0])} LOCATION {literal(str(Path(folder).parent))}")
    writer = spark.createDataFrame([], schema_of_new_table(schema)).writeTo(ref.sql).using("delta")
    for key, value in {**properties, **({"comment": description} if description else {})}.items():
        writer = writer.tableProperty(key, value)
    if partition_columns:
        writer = writer.partitionedBy(*[F.col(quote(column)) for column in partition_columns])
    try:
        with writing_settings(spark):
            writer.create()
    except AnalysisException as error:
        raise FeatureTableError.failed(name, first_line(error)) from error
    return find_feature_table(spark, name)


def merge_rows(spark: SparkSession, table: FeatureTable, df: DataFrame) -> None:
    """Upsert rows by the table's keys, its time among them. Runs jobs; the rows were checked (``check_rows``).

    A column that the table lacks is added to it; one that the rows lack keeps its value, or is null in a new row.
    """
    named = spelled(table.schema)
    adds = any(name.lower() not in named for name in df.columns)
    keys = row_keys(table)
    folded = {key.lower() for key in keys}
    theirs = {name: quote(named.get(name.lower(), name)) for name in df.columns}
    own = {name.lower(): name for name in df.columns}
    joined = [(own[key.lower()], key) for key in keys]
    on = [f"{as_read(f't.{theirs[ours]}', key, table.schema)} = s.{quote(ours)}" for ours, key in joined]
    changes = [f"{theirs[name]} = s.{quote(name)}" for name in df.columns if name.lower() not in folded]
    merge, settings = merge_adding_columns(spark) if adds else ("MERGE INTO", {})
    into, *clauses = [
        f"{merge} {table.sql} t USING",
        f"s ON {' AND '.join(on)}",
        f"WHEN MATCHED THEN UPDATE SET {', '.join(changes)}" if changes else "",
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(theirs.values())})",
        f"VALUES ({', '.join(f's.{quote(name)}' for name in df.columns)})",
    ]
    rows = padded(of_new_table(df), table.schema)
    settings |= {PADDING_SETTING: "false"} if has_char(table.schema) else {}
    with writing_settings(spark, settings):
        spark.sql(f"{unformatted(into)} {{rows}} {unformatted(' '.join(clauses))}", rows=rows)


def replace_rows(spark: SparkSession, table: FeatureTable, df: DataFrame) -> None:
    """Replace all rows; the table keeps its columns, layout and constraints. Runs a job; the rows were checked.

    A column that the table lacks is added to it. One that the rows lack is null, unless the table fills it itself.
    """
    ref = TableRef(text=table.name, sql=table.sql)
    detail = describe_table(spark, ref) or {}
    theirs = {field.name.lower(): field.dataType for field in table.schema.fields}
    left_out = theirs.keys() - {name.lower() for name in df.columns}
    filled = filled_columns(df, table.sql, table.schema, left_out) if left_out else frozenset()
    rows = _widened(of_new_table(df), theirs)
    for name in table.partitions:  # Delta overwrites no partitioned table with rows that lack its partition columns
        if name.lower() in left_out - filled:
            rows = rows.withColumn(name, F.lit(None).cast(theirs[name.lower()]))
    writer = rows.write.format("delta").mode("overwrite")
    if any(name.lower() not in theirs for name in df.columns):
        writer = writer.option("mergeSchema", "true")
    if detail.get("clusteringColumns"):
        writer = writer.option("replaceWhere", "true")  # a plain overwrite would forget the clustering
    with writing_settings(spark):
        save_over(writer, spark, ref)


def _widened(df: DataFrame, theirs: Mapping[str, DataType]) -> DataFrame:
    """The rows in the table's types: beside generated columns Delta does not widen them by itself."""
    columns = [(field, theirs.get(field.name.lower(), field.dataType)) for field in df.schema]
    wider = {f.name: type_ for f, type_ in columns if type_.simpleString() != f.dataType.simpleString()}
    return df.withColumns({name: F.col(quote(name)).cast(type_) for name, type_ in wider.items()}) if wider else df


def drop_feature_table(spark: SparkSession, table: FeatureTable) -> None:
    """Take a table away with all that it holds."""
    spark.sql(f"DROP TABLE IF EXISTS {table.sql}")


def check_rows(table: FeatureTable, df: DataFrame) -> None:
    """Refuse rows that the table cannot take. Runs one job over their keys.

    Raises:
        FeatureTableError: keys that are missing, null or not unique; columns of another type than the table's, of
            one name, or of one that the table cannot hold.

    """
    keys = row_keys(table)
    names = [name.lower() for name in df.columns]  # Delta's know no case
    if twice := [name for name in df.columns if names.count(name.lower()) > 1]:
        raise FeatureTableError.columns_twice(table.name, twice)
    folded = {field.name.lower(): field for field in df.schema.fields}
    if lacking := [key for key in keys if key.lower() not in folded]:
        raise FeatureTableError.lacks_columns(table.name, lacking, df.columns)
    theirs = {field.name.lower(): field.dataType for field in table.schema.fields}
    differing = [
        (field.name, field.dataType.simpleString(), theirs[name].simpleString())
        for name, field in folded.items()
        if name in theirs and not _is_held(field.dataType, theirs[name])
    ]
    if differing:
        raise FeatureTableError.types_differ(table.name, differing)
    _check_mapping(table, df)
    null = " OR ".join(f"{quote(key)} IS NULL" for key in keys)
    columns, blank = keys_as_stored(keys, [(table.schema, table.partitions)])
    per_key = df.groupBy(*columns).count()
    found = per_key.agg(F.expr(f"max({null})").alias("null"), F.max("count").alias("rows")).collect()[0]
    if found["null"]:
        raise FeatureTableError.null_keys(table.name, keys, blank)
    if (found["rows"] or 0) > 1:
        raise FeatureTableError.duplicate_keys(table.name, keys)


def _check_mapping(table: FeatureTable, df: DataFrame) -> None:
    """Names that Parquet cannot hold come into a table only where it maps columns to other names."""
    known = set(needing_mapping(table.schema))
    odd = [name for name in needing_mapping(df.schema) if name not in known]
    if not odd:
        return
    detail = describe_table(df.sparkSession, TableRef(text=table.name, sql=table.sql)) or {}
    if (detail.get("properties") or {}).get("delta.columnMapping.mode", "none") == "none":
        raise FeatureTableError.cannot_add(table.name, table.sql, odd)


def _is_held(ours: DataType, theirs: DataType) -> bool:
    """Whether a column of the table holds the rows' values as they are: Delta widens integers and FLOAT by itself."""
    pair = (ours.simpleString(), theirs.simpleString())
    return pair[0] == pair[1] or pair == ("float", "double") or pair in combinations(_INTEGERS, 2)


def row_keys(table: FeatureTable) -> tuple[str, ...]:
    """The columns that tell a table's rows apart: its keys, and its time.

    Raises:
        FeatureTableError: nothing says which they are.

    """
    if table.primary_keys is None:
        raise FeatureTableError.no_keys(table.name)
    return (*table.primary_keys, *([] if table.timeseries_column is None else [table.timeseries_column]))


def _keys(spark: SparkSession, ref: TableRef, properties: dict[str, str]) -> tuple[tuple[str, ...] | None, str | None]:
    """A table's keys without its time, and its time."""
    if _KEYS in properties:
        return tuple(json.loads(properties[_KEYS])), properties.get(_TIME)
    for row in spark.sql(f"DESCRIBE TABLE EXTENDED {ref.sql}").collect():
        if found := _CONSTRAINT.search(str(row["data_type"] or "")):
            return constraint_keys(found[1])
    return None, None


def constraint_keys(columns: str) -> tuple[tuple[str, ...], str | None]:
    """The columns of a primary key constraint as Unity Catalog writes them: ``"`id`, `ts` TIMESERIES"``."""
    found = [(name.replace("``", "`"), bool(time)) for name, time in _CONSTRAINT_COLUMN.findall(columns)]
    keys = tuple(name for name, is_time in found if not is_time)
    return keys, next((name for name, is_time in found if is_time), None)
