"""Write predictions to Delta in one commit, after refusing what Delta would accept silently.

Delta takes an append that lacks columns, an overwrite of the table that is being read, and a folder of foreign
files without a word; all of these are refused before a row is scored.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.names import TableRef, register_table, resolve, warehouse_path
from spark_scoring.delta.source import PinnedSource, describe_table
from spark_scoring.errors import Gathering, OutputError, first_line
from spark_scoring.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from spark_scoring.delta.ledger import Mode, RunFacts

_NEEDS_MAPPING = frozenset(" ,;{}()\n\t=")
_METADATA_SETTING = "spark.databricks.delta.commitInfo.userMetadata"
_settings_lock = threading.Lock()
"""Session settings are seen by every thread: two runs of one process must not take each other's."""


@dataclass(frozen=True)
class Writing:
    """How rows come into a table."""

    mode: Mode
    replace_where: str | None = None
    """SQL condition: what an overwrite replaces; None: the table."""

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.mode} where {self.replace_where}" if self.replace_where else self.mode


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
        properties=tuple(sorted((detail.get("properties") or {}).items())),
    )


def check_target(target: Target, source: PinnedSource, written: DataFrame, nullable: list[str]) -> None:
    """Refuse an output that cannot take the run's columns.

    Args:
        target: the output before the run.
        source: what is read.
        written: the columns that the run writes, with any rows.
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
    if target.writing.replace_where is not None:
        with problems.attempt():
            _check_condition(target.writing.replace_where, written)
    if target.schema is not None:
        with problems.attempt():
            _check_schema(target, target.schema, written.schema)
    problems.raise_all(OutputError)


def write(frame: DataFrame, target: Target, facts: RunFacts, *, replaced: Sequence[str] = ()) -> None:
    """Write all rows in one commit that carries the run's facts and its transaction mark. Runs the job.

    A new table comes into being with its rows, so that a failed run leaves no empty table behind. Delta passes
    over the write without a word where the table has a mark of this key and of this generation or a later one.

    Args:
        frame: the rows.
        target: where to.
        facts: of the run.
        replaced: runs of which an append replaces what is left.

    """
    metadata = facts.to_json()
    options = {
        "userMetadata": metadata,
        "txnAppId": facts.idempotency_key,
        "txnVersion": str(facts.generation),
        "partitionOverwriteMode": "static",  # of the table, whatever the session says
    }
    if target.schema is None and any(_NEEDS_MAPPING & set(name) for name in frame.columns):
        options["delta.columnMapping.mode"] = "name"
    if (
        target.schema is None and target.writing.replace_where is not None
    ):  # Delta checks it on a table that exists only
        frame = _guarded(frame, target.writing.replace_where, facts.run_column)
    mode: str = target.writing.mode
    if condition := _replaced_part(target, facts, replaced):
        mode, options["replaceWhere"] = "overwrite", condition
    writer = frame.write.format("delta").mode(mode).options(**options)
    spark = frame.sparkSession
    if target.path is not None:
        writer.save(target.path)
        register_table(spark, target.ref)
        return
    if target.schema is not None:
        writer.saveAsTable(target.ref.sql)
        return
    with session_settings(spark, {_METADATA_SETTING: metadata}):  # Delta drops the option where it creates a table
        writer.saveAsTable(target.ref.sql)


def _replaced_part(target: Target, facts: RunFacts, replaced: Sequence[str]) -> str | None:
    """The condition of the rows that the write replaces; None for all, or for none."""
    if target.schema is None:
        return None
    if target.writing.mode == "append":
        runs = ", ".join(literal(run) for run in (*replaced, facts.run_id))
        return f"{quote(facts.run_column)} IN ({runs})" if replaced else None
    if target.writing.replace_where is None and target.clustered:
        return "true"  # a plain overwrite would forget the clustering
    return target.writing.replace_where


def _guarded(frame: DataFrame, condition: str, column: str) -> DataFrame:
    """The frame, which fails in a row that the condition does not cover."""
    message = "raise_error('spark_scoring: a row is outside of replace_where')"
    guard = f"CASE WHEN coalesce(({condition}\n), false) THEN {quote(column)} ELSE {message} END"
    return frame.withColumn(column, F.expr(guard))


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings of the session for what takes no options; as before afterwards. One run at a time has them."""
    with _settings_lock:
        before = {key: spark.conf.get(key, None) for key in settings}
        try:
            for key, value in settings.items():
                spark.conf.set(key, value)
            yield
        finally:
            for key, old in before.items():
                if old is None:
                    spark.conf.unset(key)
                else:
                    spark.conf.set(key, old)


def _check_properties(target: Target, spark: SparkSession, nullable: list[str]) -> None:
    properties = dict(target.properties)
    if target.writing.mode == "overwrite" and properties.get("delta.appendOnly", "").lower() == "true":
        raise OutputError.append_only(target.ref.text)
    for key, expression in properties.items():
        if key.startswith("delta.constraints."):
            _check_constraint(target, spark, expression, nullable)
    for field in target.schema.fields if target.schema is not None else ():
        if not field.nullable and field.name in nullable:
            raise OutputError.constraint(target.ref.text, "NOT NULL", field.name)


def _check_condition(condition: str, written: DataFrame) -> None:
    try:
        _ = written.where(f"({condition}\n)").schema
    except (AnalysisException, ParseException) as error:
        raise OutputError.bad_condition(condition, first_line(error)) from error


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
