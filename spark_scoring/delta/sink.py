"""Write predictions to Delta in one commit, after refusing what Delta would accept silently.

Delta takes an append that lacks columns, an overwrite of the table that is being read, and a folder of foreign
files without a word; all of these are refused before a row is scored.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.names import TableRef, register_table, resolve, warehouse_path
from spark_scoring.delta.source import PinnedSource, describe_table
from spark_scoring.errors import Gathering, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

Mode = Literal["append", "overwrite"]

_NEEDS_MAPPING = frozenset(" ,;{}()\n\t=")


@dataclass(frozen=True)
class Target:
    """The output as it is before the run."""

    ref: TableRef
    mode: Mode
    schema: StructType | None
    """None where the table does not exist yet."""
    table_id: str | None
    path: str | None
    """Where to write by path; None for a table that only its catalog may write."""
    clustered: bool = False
    properties: tuple[tuple[str, str], ...] = ()


def inspect_target(spark: SparkSession, *, table: str | None, path: str | None, mode: Mode) -> Target:
    """The output's state; reads metadata, lists a folder, no rows.

    Raises:
        OutputError: it exists and is no Delta table.

    """
    ref = resolve(spark, table=table, path=path)
    detail = describe_table(spark, ref)
    where = ref.path or warehouse_path(spark, ref)
    if detail is None:
        if where is not None and _holds_foreign_files(spark, where):
            raise OutputError.foreign_folder(ref.text, where)
        return Target(ref, mode, None, None, where)
    if detail["format"] != "delta":
        raise OutputError.not_delta(ref.text, f"a {detail['format']}")
    return Target(
        ref=ref,
        mode=mode,
        schema=spark.table(ref.sql).schema,
        table_id=str(detail["id"]),
        path=ref.path or (where and str(detail["location"])),
        clustered=bool(detail.get("clusteringColumns")),
        properties=tuple(sorted((detail.get("properties") or {}).items())),
    )


def check_target(target: Target, source: PinnedSource, written: StructType, nullable: list[str]) -> None:
    """Refuse an output that cannot take the run's columns.

    Args:
        target: the output before the run.
        source: what is read.
        written: the columns that the run writes.
        nullable: those of them that are null in a bad row.

    Raises:
        OutputError: with every reason.

    """
    problems = Gathering()
    with problems.attempt():
        if target.table_id is not None and target.table_id == source.table_id:
            raise OutputError.is_source(target.ref.text)
    with problems.attempt():
        _check_properties(target, source.frame.sparkSession, nullable)
    if target.schema is not None:
        with problems.attempt():
            _check_schema(target, target.schema, written)
    problems.raise_all(OutputError)


def write(frame: DataFrame, target: Target, metadata: str) -> None:
    """Write all rows in one commit that carries the metadata. Runs the job.

    A new table comes into being with its rows, so that a failed run leaves no empty table behind.
    """
    writer = frame.write.format("delta").mode(target.mode).option("userMetadata", metadata)
    writer = writer.option("partitionOverwriteMode", "static")  # of the table, whatever the session says
    if target.schema is None and any(_NEEDS_MAPPING & set(name) for name in frame.columns):
        writer = writer.option("delta.columnMapping.mode", "name")
    if target.clustered and target.mode == "overwrite":
        writer = writer.option("replaceWhere", "true")  # a plain overwrite would forget the clustering
    spark = frame.sparkSession
    if target.path is not None:
        writer.save(target.path)
        register_table(spark, target.ref)
        return
    with _commit_metadata(spark, metadata):
        writer.saveAsTable(target.ref.sql)


@contextmanager
def _commit_metadata(spark: SparkSession, metadata: str) -> Iterator[None]:
    """User metadata by session setting: Delta drops the option where a statement creates a table."""
    key = "spark.databricks.delta.commitInfo.userMetadata"
    before = spark.conf.get(key, None)
    spark.conf.set(key, metadata)
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, before)


def _check_properties(target: Target, spark: SparkSession, nullable: list[str]) -> None:
    properties = dict(target.properties)
    if target.mode == "overwrite" and properties.get("delta.appendOnly", "").lower() == "true":
        raise OutputError.append_only(target.ref.text)
    for key, expression in properties.items():
        if key.startswith("delta.constraints."):
            _check_constraint(target, spark, expression, nullable)
    for field in target.schema.fields if target.schema is not None else ():
        if not field.nullable and field.name in nullable:
            raise OutputError.constraint(target.ref.text, "NOT NULL", field.name)


def _check_constraint(target: Target, spark: SparkSession, expression: str, nullable: list[str]) -> None:
    """Whether a row with null predictions passes: the expression over a row of nulls."""
    named = [name for name in nullable if name.lower() in expression.lower()]
    if not named or target.schema is None:
        return
    row = spark.range(1).select(*[F.lit(None).cast(f.dataType).alias(f.name) for f in target.schema.fields])
    if row.where(expression).isEmpty():
        raise OutputError.constraint(target.ref.text, f"CHECK ({expression})", named[0])


def _check_schema(target: Target, existing: StructType, written: StructType) -> None:
    ours = {f.name.lower(): f for f in written.fields}
    theirs = {f.name.lower(): f for f in existing.fields}
    rows = [("", "column", "run writes", "table has")]
    for key in [*theirs, *[k for k in ours if k not in theirs]]:
        new, old = _type_text(ours.get(key)), _type_text(theirs.get(key))
        rows.append(("x" if new != old else " ", (theirs.get(key) or ours[key]).name, new, old))
    if any(mark == "x" for mark, *_ in rows):
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        raise OutputError.schema(target.ref.text, lines)


def _type_text(field: Any) -> str:
    return "-" if field is None else field.dataType.simpleString()


def _holds_foreign_files(spark: SparkSession, folder: str) -> bool:
    """Whether a folder, local or remote, holds anything but the beginnings of a Delta table."""
    if "://" not in folder and not folder.startswith("dbfs:"):
        place = Path(folder)
        if (place / "_delta_log").is_dir():  # a first run that died before its commit
            return False
        return place.is_file() or (place.is_dir() and any(place.iterdir()))
    try:
        files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(folder)
        return not files.select("path").isEmpty()
    except AnalysisException:  # PATH_NOT_FOUND
        return False
