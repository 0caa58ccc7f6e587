"""The output as it is before a run: what kind of table, with which columns and properties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException

from spark_scoring.delta.names import TableRef, register_table, resolve, warehouse_path
from spark_scoring.delta.tables import describe_table
from spark_scoring.engine.errors import OutputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

    from spark_scoring.delta.ledger import Mode

CHECKPOINTS = "_spark_scoring"
"""Folder in an output's own: Delta and its VACUUM leave names with an underscore in front alone."""


@dataclass(frozen=True)
class Writing:
    """How rows come into a table."""

    mode: Mode
    replace_where: str | None = None
    """SQL condition: what an overwrite replaces; None: the table."""
    key: tuple[str, ...] = ()
    """Columns by which a merge finds the row that it updates."""
    evolve: bool = False
    """Whether the table takes columns that it lacks; an overwrite of the whole table, other types, too."""

    @property
    def text(self) -> str:
        """For people."""
        match self:
            case Writing(replace_where=str(condition)):
                return f"{self.mode} where {condition}"
            case Writing(mode="merge"):
                return f"merge on {', '.join(self.key)}"
            case _:
                return self.mode


@dataclass(frozen=True)
class Target:
    """The output as it is before the run."""

    ref: TableRef
    writing: Writing
    schema: StructType | None
    """None where the table does not exist yet."""
    table_id: str | None
    path: str | None
    """Where to write by path; None for a table that only its catalog may write."""
    clustered: bool = False
    partitions: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()


def inspect_target(spark: SparkSession, writing: Writing, *, table: str | None, path: str | None) -> Target:
    """The output's state; reads metadata, lists a folder, no rows.

    Raises:
        OutputError: it exists and is no Delta table.

    """
    return _inspect(spark, resolve(spark, table=table, path=path), writing)


def inspect_again(spark: SparkSession, target: Target) -> Target:
    """The output's state now."""
    register_table(spark, target.ref)  # another process may have made it
    return _inspect(spark, target.ref, target.writing)


def _inspect(spark: SparkSession, ref: TableRef, writing: Writing) -> Target:
    detail = describe_table(spark, ref)
    where = ref.path or warehouse_path(spark, ref)
    if detail is None:
        if where is not None and _holds_foreign_files(spark, where):
            raise OutputError.foreign_folder(ref.text, where)
        return Target(ref, writing, None, None, where)
    if detail["format"] != "delta":
        raise OutputError.not_delta(ref.text, f"a {detail['format']}")
    return Target(
        ref=ref,
        writing=writing,
        schema=spark.table(ref.sql).schema,
        table_id=str(detail["id"]),
        path=ref.path or (where and str(detail["location"])),
        clustered=bool(detail.get("clusteringColumns")),
        partitions=tuple(detail.get("partitionColumns") or ()),
        properties=tuple(sorted((detail.get("properties") or {}).items())),
    )


def _holds_foreign_files(spark: SparkSession, folder: str) -> bool:
    """Whether a folder, local or remote, holds anything but the beginnings of a Delta table."""
    if "://" not in folder and not folder.startswith("dbfs:"):
        place = Path(folder)
        if (place / "_delta_log").is_dir():  # a first run that died before its commit
            return False
        return place.is_file() or (place.is_dir() and any(file.name != CHECKPOINTS for file in place.iterdir()))
    try:
        files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(folder)
        return not files.select("path").isEmpty()
    except AnalysisException:  # PATH_NOT_FOUND
        return False
