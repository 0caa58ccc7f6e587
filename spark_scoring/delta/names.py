"""Table names and paths: what a name means in this session, quoted for SQL.

Open-source Spark has no catalog for ``main.ml.delay`` and forgets its in-memory catalog at exit. A local
session's warehouse is a folder, and the folder is the catalog: ``<warehouse>/<schema>/<table>/_delta_log``.
A three-level name whose catalog the session does not know is looked up there without its first part.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.delta.errors import TableNameError
from spark_scoring.errors import near_fix
from spark_scoring.redact import redact
from spark_scoring.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

QUARANTINE = "_quarantine"
"""What the name of an output's quarantine ends with."""
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_]+")
_PART = re.compile(r"`(?:[^`]|``)+`|[^`.\s/\\]+")


@dataclass(frozen=True)
class TableRef:
    """A Delta table as SQL addresses it: by name or by path."""

    text: str
    """What the user wrote, without secrets."""
    sql: str
    """Quoted, ready for SQL: ``` `flights`.`delay` ``` or ``` delta.`/data/delay` ```."""
    parts: tuple[str, ...] = ()
    """The name's parts in this session's catalog; empty for a path."""
    path: str | None = None
    """The path, where the table is addressed by one."""
    note: str | None = None
    """How the name was understood, where that is not plain."""


def split_name(name: str) -> tuple[str, ...]:
    """``a.`b.c`.d`` -> ``("a", "b.c", "d")``.

    Raises:
        TableNameError: not one to three parts, or a part that is not an identifier.

    """
    parts: list[str] = []
    rest = name.strip()
    while match := _PART.match(rest):
        part = match.group()
        parts.append(part[1:-1].replace("``", "`") if part.startswith("`") else part)
        rest = rest[match.end() :]
        if not rest:
            break
        if not rest.startswith("."):
            raise TableNameError.malformed(name)
        rest = rest[1:]
    else:
        raise TableNameError.malformed(name)
    if len(parts) > 3:  # noqa: PLR2004
        raise TableNameError.malformed(name)
    return tuple(parts)


def with_suffix(suffix: str, *, table: str | None = None, path: str | None = None) -> dict[str, str | None]:
    """The table or path beside another one: ``main.ml.delay`` -> ``main.ml.delay_quarantine``."""
    if path is not None:
        return {"table": None, "path": f"{path.rstrip('/')}{suffix}"}
    *schema, last = split_name(table or "")
    parts = [part if _FOLDER_NAME.fullmatch(part) else quote(part) for part in (*schema, f"{last}{suffix}")]
    return {"table": ".".join(parts), "path": None}


def resolve(spark: SparkSession, *, table: str | None = None, path: str | None = None) -> TableRef:
    """The table or path as this session addresses it; registers a warehouse folder's table on first use.

    Raises:
        TableNameError: the name has no one to three parts, its catalog is unknown here, or takes no such name.

    """
    if path is not None:
        plain = without_file_scheme(path)
        located = plain if re.match(r"[a-z][a-z0-9+.-]*:", plain) else str(Path(plain).absolute())
        return TableRef(text=redact(path), sql=f"delta.{quote(located)}", path=located)
    table = table or ""
    parts = split_name(table)
    note = None
    if len(parts) == 3 and not _knows_catalog(spark, parts[0]):  # noqa: PLR2004
        folder = warehouse_folder(spark)
        if folder is None:
            raise TableNameError.unknown_catalog(table, parts[0])
        note = f"no catalog {parts[0]!r} here: its tables are those of the warehouse folder {folder}"
        parts = parts[1:]
    if _is_session_catalog(spark, parts) and not all(_FOLDER_NAME.fullmatch(part) for part in parts):
        raise TableNameError.unusual(table)
    ref = TableRef(text=table, sql=".".join(quote(p) for p in parts), parts=parts, note=note)
    register_table(spark, ref)
    return ref


def _is_session_catalog(spark: SparkSession, parts: Sequence[str]) -> bool:
    """Whether the name is one of open-source Spark's own catalog, which takes no other names than those of folders."""
    if not str(spark.conf.get("spark.sql.catalog.spark_catalog", "")).startswith("org.apache.spark.sql.delta"):
        return False
    catalog = parts[0] if len(parts) == 3 else spark.catalog.currentCatalog()  # noqa: PLR2004
    return catalog.lower() == "spark_catalog"


def register_warehouse(spark: SparkSession) -> None:
    """Register every Delta table that lies in the session's warehouse folder."""
    warehouse = warehouse_folder(spark)
    if warehouse is None:
        return
    for log in sorted([*warehouse.glob("*/_delta_log"), *warehouse.glob("*/*/_delta_log")]):
        *schema, table = log.parent.relative_to(warehouse).parts
        parts = (*[folder.removesuffix(".db") for folder in schema], table)
        if all(_FOLDER_NAME.fullmatch(part) for part in parts):
            register_table(spark, TableRef(text=".".join(parts), sql=".".join(quote(p) for p in parts), parts=parts))


def register_table(spark: SparkSession, ref: TableRef) -> None:
    """Make a table known that lies in the warehouse folder, if it lies there and is not known yet."""
    path = warehouse_path(spark, ref)
    if path is None or not _holds_table(Path(path)) or spark.catalog.tableExists(ref.sql):
        return
    if len(ref.parts) > 1:
        folder = str(Path(path).parent)
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quote(ref.parts[0])} LOCATION {literal(folder)}")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {ref.sql} USING delta LOCATION {literal(path)}")


def _holds_table(folder: Path) -> bool:
    """Whether a Delta table lies here; a first run that died before its commit leaves a log without one."""
    return any(folder.glob("_delta_log/*.json"))


def warehouse_path(spark: SparkSession, ref: TableRef) -> str | None:
    """The folder that a name means in a local session's warehouse; None for paths and for real catalogs."""
    warehouse = warehouse_folder(spark)
    if warehouse is None or not ref.parts or len(ref.parts) > 2:  # noqa: PLR2004
        return None
    *schema, table = (part.lower() for part in ref.parts)  # as Spark names folders
    return str((_schema_folder(spark, warehouse, schema[0]) if schema else warehouse) / table)


def new_schema(spark: SparkSession, ref: TableRef) -> str | None:
    """What to tell of a schema of the local warehouse that comes into being with its first table; else None."""
    if len(ref.parts) < 2 or warehouse_path(spark, ref) is None or spark.catalog.databaseExists(quote(ref.parts[0])):  # noqa: PLR2004
        return None
    near = near_fix(ref.parts[0], (schema.name for schema in spark.catalog.listDatabases()), what="schemas") or ""
    return f"schema {ref.parts[0]!r} is new, too{'; ' + near if near.endswith('?') else ''}"


def _schema_folder(spark: SparkSession, warehouse: Path, schema: str) -> Path:
    """The schema's location where the session knows it; else its folder, with Spark's ``.db`` if it is there."""
    if spark.catalog.databaseExists(quote(schema)):
        return Path(without_file_scheme(spark.catalog.getDatabase(quote(schema)).locationUri))
    spark_style = warehouse / f"{schema}.db"
    return spark_style if spark_style.is_dir() else warehouse / schema


def without_file_scheme(location: str) -> str:
    """``file:/data`` and ``file:///data`` as ``/data``; any other location as it is."""
    return re.sub(r"^file:/*", "/", location)


def warehouse_folder(spark: SparkSession) -> Path | None:
    """The folder that is the session's catalog; None where a metastore, Unity Catalog or Databricks is."""
    place = str(spark.conf.get("spark.sql.warehouse.dir", ""))
    remote = "://" in place or not place.startswith(("/", "file:"))
    metastore = spark.conf.get("spark.sql.catalogImplementation", "in-memory") != "in-memory"
    if os.environ.get("DATABRICKS_RUNTIME_VERSION") or remote or metastore:
        return None
    return Path(without_file_scheme(place))


def _knows_catalog(spark: SparkSession, catalog: str) -> bool:
    if spark.conf.get(f"spark.sql.catalog.{catalog}", None) is not None:
        return True
    return any(row[0].lower() == catalog.lower() for row in spark.sql("SHOW CATALOGS").collect())
