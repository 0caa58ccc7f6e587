"""Write predictions to Delta in one commit.

Delta takes an append that lacks columns, an overwrite of the table that is being read, and a folder of foreign
files without a word; all of these are refused before a row is scored (``fitting``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from spark_scoring.delta.columns import column_drift
from spark_scoring.delta.fitting import needing_mapping
from spark_scoring.delta.names import register_table
from spark_scoring.delta.settings import writing_settings
from spark_scoring.delta.stored import (
    PADDING_SETTING,
    as_read,
    has_char,
    is_comparable,
    of_new_table,
    of_table,
    padded,
    spelled,
)
from spark_scoring.delta.tables import save_over
from spark_scoring.spark_versions import merge_adding_columns
from spark_scoring.sql import literal, quote, unformatted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.delta.ledger import RunFacts
    from spark_scoring.delta.target import Target

_BELONGS = "_spark_scoring_belongs"
"""The column of a merge's source that says whether the table is to hold the row."""
_MATERIALIZE_SETTING = "spark.databricks.delta.merge.materializeSource"
_EMPTY_SETTING = "spark.databricks.delta.skipRecordingEmptyCommits"
METADATA_SETTING = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True)
class Rows:
    """What a run has for a table."""

    frame: DataFrame
    """All of the run's rows."""
    belonging: str | None = None
    """SQL condition of those that the table is to hold; None: all."""
    error_column: str = "scoring_error"
    stamps: tuple[str, ...] = ()
    """Columns that differ from run to run: alone they are no reason to rewrite a row."""
    removed: DataFrame | None = None
    """Keys whose rows a merge deletes."""

    @property
    def is_parted(self) -> bool:
        """Whether the table is not to hold all of them."""
        return self.belonging is not None or self.removed is not None


def write(rows: Rows, target: Target, facts: RunFacts, *, replaced: str | None = None) -> None:
    """Write rows in one commit that carries the run's facts and its transaction mark. Runs the job.

    A new table comes into being with its rows, so that a failed run leaves no empty table behind. Delta passes
    over the write without a word where the table has a mark of this key and of this generation or a later one.
    A merge has no mark: to merge the same rows again changes nothing.

    Args:
        rows: what there is to write.
        target: where to.
        facts: of the run.
        replaced: SQL condition of rows that an append replaces.

    """
    if target.writing.mode == "merge" and target.schema is not None:
        _merge(rows, target, facts)
    else:
        _save(rows.frame if rows.belonging is None else rows.frame.where(rows.belonging), target, facts, replaced)


def _save(frame: DataFrame, target: Target, facts: RunFacts, replaced: str | None) -> None:
    metadata = facts.to_json()
    frame = of_new_table(frame)
    options = {
        "userMetadata": metadata,
        "txnAppId": facts.idempotency_key,
        "txnVersion": str(facts.generation),
    }
    if target.schema is None and needing_mapping(frame.schema):
        options["delta.columnMapping.mode"] = "name"
    if target.schema is None and target.writing.replace_where is not None:  # of a table that exists, Delta checks it
        frame = _guarded(frame, target.writing.replace_where, facts.run_column)
    mode: str = target.writing.mode
    if mode == "merge":
        mode = "error"  # into a table that is new: if another run makes it first, this one must merge
    if mode == "overwrite" and target.schema is None and target.path is None:
        mode = "error"  # likewise, as an overwrite by name is not to be had everywhere
    if condition := _replaced_part(target, facts, replaced):
        mode, options["replaceWhere"] = "overwrite", condition
    if target.schema is not None and target.writing.evolve:
        frame, evolving = _evolving(frame, target.schema)
        options |= evolving
    writer = frame.write.format("delta").mode(mode).options(**options)
    if target.partitions and "overwriteSchema" in options:
        writer = writer.partitionBy(*target.partitions)
    spark = frame.sparkSession
    if target.path is not None:
        with writing_settings(spark):
            writer.save(target.path)
        register_table(spark, target.ref)
        return
    # Delta drops the option where it creates a table
    with writing_settings(spark, {METADATA_SETTING: metadata} if target.schema is None else None):
        if target.schema is None:
            writer.saveAsTable(target.ref.sql)
        else:
            save_over(writer, spark, target.ref)


def _evolving(frame: DataFrame, schema: StructType) -> tuple[DataFrame, dict[str, str]]:
    """The frame, and the options by which the table takes its columns; it loses none of its own."""
    drift = column_drift(schema, frame.schema)
    if drift.changed:
        return of_table(frame, schema), {"overwriteSchema": "true"}
    return frame, {"mergeSchema": "true"} if drift.new else {}


def _merge(rows: Rows, target: Target, facts: RunFacts) -> None:
    """Update the rows that differ, insert those that are new, delete those whose new row belongs elsewhere."""
    spark, schema = rows.frame.sparkSession, target.schema or StructType()
    adds_columns = bool(column_drift(schema, rows.frame.schema).new)
    merge, evolving = merge_adding_columns(spark) if adds_columns else ("MERGE INTO", {})
    source = padded(of_new_table(_merge_source(rows)), schema)
    statement = _merge_statement(rows, target, merge, adds_columns=adds_columns)
    # The merge reads its source twice: Delta keeps it meanwhile, as it does by itself unless the session says no.
    # A merge with nothing to do leaves a commit, too: by it the run is found.
    settings = {METADATA_SETTING: facts.to_json(), _MATERIALIZE_SETTING: "all", _EMPTY_SETTING: "false"}
    settings |= evolving | ({PADDING_SETTING: "false"} if has_char(schema) else {})
    with writing_settings(spark, settings):
        spark.sql(statement, source=source).collect()


def _merge_source(rows: Rows) -> DataFrame:
    """All of the run's rows and the removed keys; a mark tells which of them the table is to hold, if not all."""
    source = rows.frame
    if rows.is_parted:
        source = source.withColumn(_BELONGS, F.expr(rows.belonging or "true"))
    if rows.removed is not None:
        source = source.unionByName(rows.removed.withColumn(_BELONGS, F.lit(False)), allowMissingColumns=True)  # noqa: FBT003
    return source


def _merge_statement(rows: Rows, target: Target, merge: str, *, adds_columns: bool) -> str:
    """The merge as SQL, of ``{source}``.

    Columns are listed, as ``*`` would drop what the table lacks. A row with an error is updated in any case, so that
    it names the last run that tried it.
    """
    columns, schema = rows.frame.columns, target.schema or StructType()
    named = spelled(schema)

    def theirs(name: str) -> str:
        return quote(named.get(name.lower(), name))

    def old(name: str) -> str:
        return as_read(f"t.{theirs(name)}", name, schema)

    on = " AND ".join(f"{old(name)} = s.{quote(name)}" for name in target.writing.key)
    compared = [f for f in rows.frame.schema.fields if f.name not in (*rows.stamps, *target.writing.key)]
    same = "false" if adds_columns else " AND ".join(_same(old(f.name), quote(f.name), f.dataType) for f in compared)
    differs = f"(NOT ({same}) OR s.{quote(rows.error_column)} IS NOT NULL)"
    updated = ", ".join(f"{theirs(name)} = s.{quote(name)}" for name in columns)
    clauses = [
        f"WHEN MATCHED AND NOT s.{_BELONGS} THEN DELETE" if rows.is_parted else "",
        f"WHEN MATCHED AND {differs} THEN UPDATE SET {updated}",
        f"WHEN NOT MATCHED {f'AND s.{_BELONGS}' if rows.is_parted else ''} THEN INSERT",
        f"({', '.join(theirs(name) for name in columns)})",
        f"VALUES ({', '.join(f's.{quote(name)}' for name in columns)})",
    ]
    into, using = f"{merge} {unformatted(target.ref.sql)} AS t", f"USING {{source}} AS s ON {unformatted(on)}"
    return " ".join([into, using, *[unformatted(clause) for clause in clauses if clause]])


def _same(old: str, ours: str, type_: DataType) -> str:
    """Whether old and new value are equal; maps and variants, which Spark does not compare, by their JSON."""
    new = f"s.{ours}"
    return f"{old} <=> {new}" if is_comparable(type_) else f"to_json(struct({old})) <=> to_json(struct({new}))"


def _replaced_part(target: Target, facts: RunFacts, replaced: str | None) -> str | None:
    """The condition of the rows that the write replaces; None for all, or for none."""
    if target.schema is None:
        return None
    if target.writing.mode == "append":
        return f"({replaced}) OR {quote(facts.run_column)} = {literal(facts.run_id)}" if replaced else None
    if target.writing.replace_where is None and target.clustered:
        return "true"  # a plain overwrite would forget the clustering
    return target.writing.replace_where


def _guarded(frame: DataFrame, condition: str, column: str) -> DataFrame:
    """The frame, which fails in a row that the condition does not cover."""
    message = "raise_error('spark_scoring: a row is outside of replace_where')"
    guard = f"CASE WHEN coalesce(({condition}\n), false) THEN {quote(column)} ELSE {message} END"
    return frame.withColumn(column, F.expr(guard))
