"""Write predictions to Delta in one commit, after refusing what Delta would accept silently.

Delta takes an append that lacks columns, an overwrite of the table that is being read, and a folder of foreign
files without a word; all of these are refused before a row is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, MapType, StructType

from spark_scoring.delta.constraints import RowKind, must_fail
from spark_scoring.delta.filled import filled_columns
from spark_scoring.delta.names import TableRef, register_table, resolve, warehouse_path
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.settings import is_case_sensitive, writing_settings
from spark_scoring.delta.stored import PADDING_SETTING, as_read, has_char, is_comparable, of_new_table, of_table, padded
from spark_scoring.delta.tables import describe_table, save_over
from spark_scoring.engine.errors import OutputError
from spark_scoring.errors import Gathering, first_line
from spark_scoring.spark_versions import merge_adding_columns
from spark_scoring.sql import literal, quote, unformatted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructField

    from spark_scoring.delta.ledger import Mode, RunFacts
    from spark_scoring.delta.source import PinnedSource

_NEEDS_MAPPING = frozenset(" ,;{}()\n\t=")
_MERGE_MARK = "_spark_scoring_"
_MATERIALIZE_SETTING = "spark.databricks.delta.merge.materializeSource"
_EMPTY_SETTING = "spark.databricks.delta.skipRecordingEmptyCommits"
CHECKPOINTS = "_spark_scoring"
"""Folder in an output's own: Delta and its VACUUM leave names with an underscore in front alone."""
METADATA_SETTING = "spark.databricks.delta.commitInfo.userMetadata"


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


@dataclass(frozen=True)
class ColumnChange:
    """What evolving does to a column of the output, once the run has written."""

    change: Literal["added", "retyped", "unwritten"]
    column: str
    type: str
    """What the run writes; of a column that it does not write, what the table has."""
    was: str | None = None
    """Of another type: the one before."""
    fate: str = ""
    """Of a column that the run does not write: what becomes of its values."""

    @property
    def text(self) -> str:
        """For people, as a line of a diff."""
        match self.change:
            case "added":
                return f"+ {self.column} {self.type}"
            case "retyped":
                return f"~ {self.column} {self.was} -> {self.type}"
            case _:
                return f"- {self.column} {self.type}: the column stays, {self.fate}"


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


def check_target(
    target: Target, source: PinnedSource, written: DataFrame, kinds: Sequence[RowKind], run_column: str
) -> tuple[ColumnChange, ...]:
    """How the output's columns will change; refuse an output that cannot take the run's.

    Args:
        target: the output before the run.
        source: what is read.
        written: the columns that the run writes, with any rows.
        kinds: of rows that it may write: which of these columns are null in all of them, and which in none.
        run_column: the one with the run's id, by which a table is known as one of predictions.

    Raises:
        OutputError: with every reason.

    """
    if target.table_id is not None and target.table_id == source.table_id:  # how else it does not fit is of no interest
        raise OutputError.is_source(target.ref.text)
    problems = Gathering()
    changes: tuple[ColumnChange, ...] = ()
    with problems.attempt():
        _check_properties(target, source.frame.sparkSession, kinds)
    with problems.attempt():
        _check_key(target.writing.key, written)
    if target.writing.replace_where is not None:
        with problems.attempt():
            _check_condition(target.writing.replace_where, written)
    if target.schema is not None:
        with problems.attempt():
            changes = _schema_changes(target, target.schema, written, run_column)
        with problems.attempt():
            _check_mapping(target, target.schema, written.schema)
    problems.raise_all(OutputError)
    return changes


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
    drift = _drift(schema, frame.schema)
    if drift.changed:
        return of_table(frame, schema), {"overwriteSchema": "true"}
    return frame, {"mergeSchema": "true"} if drift.new else {}


def _merge(rows: Rows, target: Target, facts: RunFacts) -> None:
    """Update the rows that differ, insert those that are new, delete those whose new row belongs elsewhere.

    Columns are listed, as ``*`` would drop what the table lacks. A row with an error is updated in any case, so that
    it names the last run that tried it.
    """
    source, belongs = rows.frame, f"{_MERGE_MARK}belongs"
    parted = rows.belonging is not None or rows.removed is not None
    if parted:
        source = source.withColumn(belongs, F.expr(rows.belonging or "true"))
    if rows.removed is not None:
        source = source.unionByName(rows.removed.withColumn(belongs, F.lit(False)), allowMissingColumns=True)  # noqa: FBT003
    columns, schema = rows.frame.columns, target.schema or StructType()
    source = padded(of_new_table(source), schema)
    named = {name.lower(): name for name in schema.fieldNames()}  # as the table spells them

    def theirs(name: str) -> str:
        return quote(named.get(name.lower(), name))

    def old(name: str) -> str:
        return as_read(f"t.{theirs(name)}", name, schema)

    on = " AND ".join(f"{old(name)} = s.{quote(name)}" for name in target.writing.key)
    new = _drift(schema, rows.frame.schema).new
    compared = [f for f in rows.frame.schema.fields if f.name not in (*rows.stamps, *target.writing.key)]
    same = " AND ".join(_same(old(f.name), quote(f.name), f.dataType) for f in compared) if not new else "false"
    differs = f"(NOT ({same}) OR s.{quote(rows.error_column)} IS NOT NULL)"
    updated = ", ".join(f"{theirs(name)} = s.{quote(name)}" for name in columns)
    spark = rows.frame.sparkSession
    merge, evolving = merge_adding_columns(spark) if new else ("MERGE INTO", {})
    statement = [
        f"{merge} {unformatted(target.ref.sql)} AS t",
        f"USING {{source}} AS s ON {unformatted(on)}",
        f"WHEN MATCHED AND NOT s.{belongs} THEN DELETE" if parted else "",
        f"WHEN MATCHED AND {differs} THEN UPDATE SET {updated}",
        f"WHEN NOT MATCHED {f'AND s.{belongs}' if parted else ''} THEN INSERT",
        f"({', '.join(theirs(name) for name in columns)})",
        f"VALUES ({', '.join(f's.{quote(name)}' for name in columns)})",
    ]
    # The merge reads its source twice: Delta keeps it meanwhile, as it does by itself unless the session says no.
    # A merge with nothing to do leaves a commit, too: by it the run is found.
    settings = {METADATA_SETTING: facts.to_json(), _MATERIALIZE_SETTING: "all", _EMPTY_SETTING: "false"}
    settings |= evolving | ({PADDING_SETTING: "false"} if has_char(schema) else {})
    with writing_settings(spark, settings):
        into, using, *clauses = statement
        text = " ".join([into, using, *[unformatted(clause) for clause in clauses if clause]])
        spark.sql(text, source=source).collect()


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


def _check_properties(target: Target, spark: SparkSession, kinds: Sequence[RowKind]) -> None:
    properties = dict(target.properties)
    if target.writing.mode != "append" and properties.get("delta.appendOnly", "").lower() == "true":
        raise OutputError.append_only(target.ref.text)
    if target.schema is None:
        return
    nulls = {name.lower() for kind in kinds for name, is_null in kind.items() if is_null}
    for field in target.schema.fields:
        if not field.nullable and field.name.lower() in nulls:
            raise OutputError.constraint(target.ref.text, "NOT NULL", field.name)
    for key, expression in properties.items():
        if key.startswith("delta.constraints."):
            _check_constraint(target, target.schema, spark, expression, kinds)


def _check_key(key: tuple[str, ...], written: DataFrame) -> None:
    problems = Gathering()
    fold = str if is_case_sensitive(written.sparkSession) else str.lower
    columns = {fold(field.name): field for field in written.schema.fields}
    for name in key:
        with problems.attempt():
            if fold(name) not in columns:
                raise OutputError.no_key(name, written.columns)
            type_ = columns[fold(name)].dataType
            if not is_comparable(type_):
                raise OutputError.key_type(name, type_.simpleString())
    problems.raise_all()


def _check_condition(condition: str, written: DataFrame) -> None:
    check_sql(written.sparkSession, "output.replace_where", condition, written.columns)
    try:
        _ = written.where(f"({condition}\n)").schema
    except (AnalysisException, ParseException) as error:
        raise OutputError.bad_condition(condition, first_line(error)) from error


def _check_constraint(
    target: Target, schema: StructType, spark: SparkSession, expression: str, kinds: Sequence[RowKind]
) -> None:
    """Refuse a constraint that all rows of a kind must violate, because of what is null in them."""
    for kind in kinds:
        named = [name for name, is_null in kind.items() if name.lower() in expression.lower()]
        if named and must_fail(spark, expression, schema, kind):
            null = next((name for name in named if kind[name]), named[0])
            raise OutputError.constraint(target.ref.text, f"CHECK ({expression})", null, is_null=kind[null])


@dataclass(frozen=True)
class _Drift:
    """How the columns of a table and of a run differ."""

    rows: tuple[tuple[str, str, str, str], ...]
    """Mark, column, what the run writes, what the table has; one for each column."""
    new: frozenset[str]
    gone: frozenset[str]
    changed: frozenset[str]

    @property
    def is_any(self) -> bool:
        return bool(self.new or self.gone or self.changed)


def _drift(existing: StructType, written: StructType) -> _Drift:
    ours = {f.name.lower(): f for f in written.fields}
    theirs = {f.name.lower(): f for f in existing.fields}
    rows = []
    for key in [*theirs, *[k for k in ours if k not in theirs]]:
        new, old = _type_text(ours.get(key)), _type_text(theirs.get(key))
        rows.append(("x" if new != old else " ", (theirs.get(key) or ours[key]).name, new, old))
    both = ours.keys() & theirs.keys()
    changed = {key for key in both if _type_text(ours[key]) != _type_text(theirs[key])}
    return _Drift(
        tuple(rows), frozenset(ours.keys() - theirs.keys()), frozenset(theirs.keys() - ours.keys()), frozenset(changed)
    )


def _schema_changes(
    target: Target, existing: StructType, written: DataFrame, run_column: str
) -> tuple[ColumnChange, ...]:
    drift = _drift(existing, written.schema)
    if not drift.is_any:
        return ()
    filled = filled_columns(written, target.ref.sql, existing, drift.gone) if drift.gone else frozenset()
    if not (drift.new or drift.changed or drift.gone - filled):
        return ()
    rows = [("", "column", "run writes", "table has"), *[_told(row, filled) for row in drift.rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    refusal = _why_not_evolve(target, existing, drift, filled, lines, run_column)
    fate = _fate(target.writing)
    if not target.writing.evolve:
        lost = [f.name for f in existing if f.name.lower() in drift.gone - filled]
        lacking = run_column if _holds_others(existing, run_column) else None
        raise OutputError.schema(target.ref.text, lines, lost, fate, can_evolve=refusal is None, lacking=lacking)
    if refusal is not None:
        raise refusal
    added = [ColumnChange("added", f.name, _type_text(f)) for f in written.schema if f.name.lower() in drift.new]
    ours = {f.name.lower(): f for f in written.schema}
    changed = [
        ColumnChange("retyped", f.name, _type_text(ours[f.name.lower()]), was=_type_text(f))
        for f in existing
        if f.name.lower() in drift.changed
    ]
    left = [
        ColumnChange("unwritten", f.name, _type_text(f), fate=fate)
        for f in existing
        if f.name.lower() in drift.gone - filled
    ]
    return (*added, *changed, *left)


def _fate(writing: Writing) -> str:
    """What becomes of the values of columns that the run does not write."""
    match writing:
        case Writing(mode="overwrite", replace_where=None):
            return "its values go: null in every row"
        case Writing(mode="overwrite"):
            return "its values in the replaced rows go: null in the rows of the run"
        case _:
            return "null in new rows"


def _why_not_evolve(
    target: Target, existing: StructType, drift: _Drift, filled: Collection[str], lines: list[str], run_column: str
) -> OutputError | None:
    """Why ``evolve`` does not take these columns; None: it does."""
    if _holds_others(existing, run_column):
        return OutputError.not_predictions(target.ref.text, run_column)
    gone = drift.gone.difference(filled)
    partitions = {name.lower() for name in target.partitions} if target.writing.mode != "merge" else set()
    if needed := [
        f.name for f in existing if f.name.lower() in gone and (not f.nullable or f.name.lower() in partitions)
    ]:
        return OutputError.lacks(target.ref.text, needed)
    if drift.changed and (not _replaces_table(target) or filled or not all(map(_is_plain, existing))):
        return OutputError.types(target.ref.text, lines)
    return None


def _holds_others(existing: StructType, run_column: str) -> bool:
    """Whether a table holds something else than predictions: it has columns, and none for the run's id."""
    return bool(existing.fields) and run_column.lower() not in {name.lower() for name in existing.names}


def _told(row: tuple[str, str, str, str], filled: Collection[str]) -> tuple[str, str, str, str]:
    return (" ", row[1], "(the table fills it)", row[3]) if row[1].lower() in filled else row


def _is_plain(field: StructField) -> bool:
    """Whether a column can be made again with another type and lose nothing but that."""
    return field.nullable and "CURRENT_DEFAULT" not in field.metadata


def _check_mapping(target: Target, existing: StructType, written: StructType) -> None:
    """Names that Parquet cannot hold come into a table only where it maps columns to other names."""
    if dict(target.properties).get("delta.columnMapping.mode", "none") != "none":
        return
    known = set(_all_names(existing))
    odd = [name for name in needing_mapping(written) if name not in known]
    if odd:
        raise OutputError.needs_mapping(target.ref.text, target.ref.sql, odd)


def needing_mapping(schema: StructType) -> list[str]:
    """Names of columns, and of what is inside them, that Parquet cannot hold."""
    return [name for name in _all_names(schema) if _NEEDS_MAPPING & set(name)]


def _all_names(type_: DataType) -> list[str]:
    """Names of columns and of what is inside them."""
    match type_:
        case StructType():
            return [name for f in type_.fields for name in (f.name, *_all_names(f.dataType))]
        case ArrayType():
            return _all_names(type_.elementType)
        case MapType():
            return _all_names(type_.valueType)
        case _:
            return []


def _replaces_table(target: Target) -> bool:
    """Whether an overwrite may bring columns of its own: Delta would forget a clustering with the old ones."""
    return target.writing.mode == "overwrite" and target.writing.replace_where is None and not target.clustered


def _type_text(field: Any) -> str:
    return "-" if field is None else field.dataType.simpleString()


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
