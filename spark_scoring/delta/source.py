"""Read a source in one state, so that what changes during the run does not change the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.formats import Reading, check_reads_all, format_at, format_of, list_files, read_format
from spark_scoring.delta.ledger import KEEPS_ROWS
from spark_scoring.delta.names import TableRef, resolve
from spark_scoring.delta.pinning import pin_tables
from spark_scoring.delta.restricted import check_reading, check_sql
from spark_scoring.delta.spark_errors import spark_failure, sql_fault
from spark_scoring.delta.tables import VIEW, describe_table, history, read_version, tables_near
from spark_scoring.errors import Problem, first_line
from spark_scoring.job_problems import JobError
from spark_scoring.times import from_iso, micros_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.formats import Files, Options
    from spark_scoring.delta.pinning import PinnedSql


_LOOK_BACK = 100
"""Commits among which the last one that changed what a table reads is looked for."""


@dataclass(frozen=True)
class PinnedSource:
    """A Delta table at one version, or another source as it is now; filtered."""

    ref: TableRef
    table_id: str | None
    """Delta's own id: a table dropped and made again has another one. None where it is not a Delta table."""
    version: int | None
    """None where it is not a Delta table."""
    where: str | None
    """As the job's author wrote it."""
    frame: DataFrame
    rows: DataFrame
    """Before the filter."""
    filter: PinnedSql | None = None
    """What ``where`` is run as."""
    removed: DataFrame | None = None
    """Of a micro-batch of changes: the keys of rows that are gone."""
    reading: Reading | None = None
    """How it is read, where it is not a Delta table."""
    files: Files | None = None
    """What it reads, where it is not a Delta table but a list of files."""
    data_version: int | None = None
    """The newest version up to ``version`` that reads otherwise than the one before: OPTIMIZE and the like do not."""

    @property
    def state(self) -> str:
        """What is read, for people."""
        if self.version is not None:
            return f"at version {self.version}"
        if self.files is not None:
            return f"as {self.files.count:,} {'file' if self.files.count == 1 else 'files'} of {_size(self.files.size)}"
        return "as it is when it is read"

    @property
    def unpinned(self) -> str | None:
        """Why a run of it is like no other; None where two can read the same rows."""
        if self.version is not None or self.files is not None:
            return None
        kind = "a view" if self._format == VIEW else f"read as {self._format}"
        return f"the source {self.ref.text} is {kind}, of which no version is known"

    @property
    def delta_version(self) -> int:
        """The version of a Delta table.

        Raises:
            SourceError: it is not one.

        """
        if self.version is None:
            raise SourceError.only_delta_is_incremental(self.ref.text, self._format)
        return self.version

    @property
    def _format(self) -> str:
        return "delta" if self.reading is None else self.reading.format

    @property
    def note(self) -> str | None:
        """What a plan says about it."""
        return None if self.reading is None else self.reading.note

    @property
    def is_fixed(self) -> bool:
        """Whether the run reads the same rows each time that it looks at them."""
        has_jvm = hasattr(self.frame.sparkSession, "_sc")  # over Connect, files are listed anew each time
        return self.version is not None or (self.files is not None and has_jvm)


def pin_source(
    spark: SparkSession,
    *,
    table: str | None = None,
    path: str | None = None,
    where: str | None = None,
    version: int | None = None,
    timestamp: str | None = None,
    format: str | None = None,  # noqa: A002  the job's own word
    ddl: str | None = None,
    options: Options | None = None,
) -> PinnedSource:
    """Pin a Delta table's version, or list a source's files; reads metadata and history, no rows.

    Without ``ddl``, Spark guesses the types of JSON and XML from the rows, which it reads for that.

    Args:
        spark: the session.
        table: a table or view by name.
        path: a Delta table's path; with ``format``, what its reader takes.
        where: SQL condition.
        version: of a Delta table.
        timestamp: the version that was the newest then; ISO 8601.
        format: of a source that is not a Delta table.
        ddl: with a format: its columns and types.
        options: with a format: those of its reader.

    Raises:
        SourceError: no such table, path or version, Spark cannot read it, or a filter that does not fit.
        JobError: the environment does not allow the format or the filter.

    """
    check_reads_all(spark)
    check_reading(path or table or "", format or "delta", list(options or {}))
    if format is not None and (format.lower() != "delta" or path is None):
        source = _other_format(spark, format, path, ddl, options or {})
    else:
        ref = resolve(spark, table=table, path=path)
        detail = describe_table(spark, ref)
        if detail is None:
            raise _not_there(spark, ref)
        if detail["format"] == "delta":
            source = _delta(spark, ref, detail, version, timestamp)
        else:
            source = _other_table(spark, ref, detail, is_versioned=version is not None or timestamp is not None)
    return source if where is None else _filtered(source, where)


def _delta(
    spark: SparkSession, ref: TableRef, detail: dict[str, Any], version: int | None, timestamp: str | None
) -> PinnedSource:
    pinned, data_version = _pin_version(spark, ref, version, timestamp)
    try:
        frame = read_version(spark, ref, pinned)
    except AnalysisException as error:  # in the history, but its log was cleaned up
        raise SourceError.unreadable(ref.text, pinned, first_line(error)) from error
    return PinnedSource(ref, str(detail["id"]), pinned, None, frame, frame, data_version=data_version)


def _other_table(spark: SparkSession, ref: TableRef, detail: dict[str, Any], *, is_versioned: bool) -> PinnedSource:
    """A view, or a table of another format."""
    kind = str(detail["format"] or "other format")
    if is_versioned:
        raise SourceError.no_versions(ref.text, kind)
    reading = Reading(ref.text, kind, detail.get("location"))
    if kind != VIEW:
        spark.catalog.refreshTable(ref.sql)  # else a session remembers the files that it has seen first
    try:
        frame = spark.table(ref.sql)
    except AnalysisException as error:  # a view of a table that is gone
        raise SourceError.not_read(ref.text, kind, spark_failure(str(error)).text) from error
    files = None if kind == VIEW else list_files(frame, reading)
    return PinnedSource(ref, None, None, None, frame, frame, reading=reading, files=files)


def _other_format(spark: SparkSession, kind: str, path: str | None, ddl: str | None, options: Options) -> PinnedSource:
    """What ``spark.read.format`` reads."""
    ref = TableRef(text=f"({kind})", sql="") if path is None else replace(resolve(spark, path=path), sql="")
    reading = Reading(ref.text, kind, ref.path, ddl, tuple(options.items()))
    frame = read_format(spark, reading)
    return PinnedSource(ref, None, None, None, frame, frame, reading=reading, files=list_files(frame, reading))


def _not_there(spark: SparkSession, ref: TableRef) -> SourceError:
    """What a name or a path does not lead to."""
    if ref.path is None:
        kind = format_of(ref.text)
        if kind and Path(ref.text).is_file():
            return SourceError.file_as_name(ref.text, kind)
        return SourceError.missing(ref.text, tables_near(spark, ref), is_like_file=bool(kind))
    found = format_at(spark, ref.path)
    return SourceError.no_path(ref.text) if found is None else SourceError.needs_format(ref.text, found)


def check_as_planned(source: PinnedSource) -> None:
    """Refuse a source whose files have changed since it was planned. Files that came later are not read.

    Raises:
        SourceError: some are gone, or are others.

    """
    if source.files is None or source.reading is None:
        return
    if list_files(source.rows, source.reading) != source.files:
        raise SourceError.files_changed(source.ref.text)


def pin_filter_again(source: PinnedSource) -> PinnedSource:
    """The source, whose filter reads other tables as they are now. Its frame stays."""
    if source.where is None or source.filter is None or not source.filter.tables:
        return source
    pinned = pin_tables(source.frame.sparkSession, "where", source.where)
    return replace(source, filter=pinned)


def read_again(source: PinnedSource) -> PinnedSource:
    """The same rows, and the filter as the session understands it now."""
    return source if source.filter is None else replace(source, frame=source.rows.where(source.filter.sql))


def _filtered(source: PinnedSource, where: str) -> PinnedSource:
    columns = source.frame.columns
    check_sql(source.frame.sparkSession, "source.where", where, columns)
    pinned = pin_tables(source.frame.sparkSession, "where", where)
    try:
        frame = source.frame.where(pinned.sql)
    except (AnalysisException, ParseException) as error:
        if pinned.sql == where:
            raise SourceError.bad_filter(source.ref.text, where, *sql_fault(error, where, columns)) from error
        pinned = pinned.as_written()
        try:
            frame = source.frame.where(where)
        except (AnalysisException, ParseException) as other:
            raise SourceError.bad_filter(source.ref.text, where, *sql_fault(other, where, columns)) from other
    return replace(source, where=where, frame=frame, filter=pinned)


def _pin_version(spark: SparkSession, ref: TableRef, version: int | None, timestamp: str | None) -> tuple[int, int]:
    """The version that is meant, and the newest one up to it that reads otherwise than the one before."""
    is_newest = version is None and timestamp is None
    found = _versions(spark, ref, limit=1 if is_newest else None)
    oldest, newest = min(found), max(found)
    if is_newest:
        pinned = newest
        if found[newest].keeps_rows:
            found = _versions(spark, ref, limit=_LOOK_BACK)
    elif version is not None:
        if not oldest <= version <= newest:
            raise SourceError.no_version(ref.text, f"version {version}", oldest, newest)
        pinned = version
    else:
        until = _micros(str(timestamp))
        candidates = [number for number, known in found.items() if known.micros <= until]
        if not candidates:
            raise SourceError.no_version(ref.text, f"version as early as {timestamp}", oldest, newest)
        pinned = max(candidates)
    changed = [number for number, known in found.items() if number <= pinned and not known.keeps_rows]
    return pinned, max(changed, default=pinned)


class _Version(NamedTuple):
    """A version of a table."""

    micros: int
    """When it was committed, since the epoch."""
    keeps_rows: bool
    """Whether it reads as the one before."""


def _versions(spark: SparkSession, ref: TableRef, limit: int | None) -> dict[int, _Version]:
    rows = history(spark, ref, limit).select("version", F.unix_micros("timestamp"), "operation").collect()
    return {int(row[0]): _Version(int(row[1]), row[2] in KEEPS_ROWS) for row in rows}


def _micros(timestamp: str) -> int:
    """ISO 8601 to microseconds since the epoch; UTC where no offset is given."""
    try:
        return micros_of(from_iso(timestamp))
    except ValueError as error:
        fix = "write it like 2026-01-31T23:59:59 (UTC) or with an offset"
        raise JobError([Problem("source.timestamp", f"{timestamp!r} is not an ISO 8601 time", fix)]) from error


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
