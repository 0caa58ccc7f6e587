"""Read a source at one version, so that a table that changes during the run does not change the run."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.names import TableRef, resolve
from spark_scoring.delta.pinning import pin_tables
from spark_scoring.delta.tables import describe_table, history, read_version, tables_near
from spark_scoring.errors import JobError, Problem, SourceError, first_line

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.pinning import PinnedSql


@dataclass(frozen=True)
class PinnedSource:
    """A Delta table at one version, filtered."""

    ref: TableRef
    table_id: str
    """Delta's own id: a table dropped and made again has another one."""
    version: int
    where: str | None
    """As the job's author wrote it."""
    frame: DataFrame
    filter: PinnedSql | None = None
    """What ``where`` is run as."""
    removed: DataFrame | None = None
    """Of a micro-batch of changes: the keys of rows that are gone."""


def pin_source(
    spark: SparkSession,
    *,
    table: str | None = None,
    path: str | None = None,
    where: str | None = None,
    version: int | None = None,
    timestamp: str | None = None,
) -> PinnedSource:
    """Pin a Delta table's version; reads its metadata and history, no rows.

    Raises:
        SourceError: no such table or version, not Delta, or a filter that does not fit.

    """
    ref = resolve(spark, table=table, path=path)
    detail = describe_table(spark, ref)
    if detail is None:
        raise SourceError.missing(ref.text, tables_near(spark, ref))
    if detail["format"] != "delta":
        raise SourceError.not_delta(ref.text, f"a {detail['format']}")
    pinned = _pin_version(spark, ref, version, timestamp)
    try:
        frame = read_version(spark, ref, pinned)
    except AnalysisException as error:  # in the history, but its log was cleaned up
        raise SourceError.unreadable(ref.text, pinned, first_line(error)) from error
    source = PinnedSource(ref, str(detail["id"]), pinned, where, frame)
    return source if where is None else _filtered(source, where)


def pin_filter_again(source: PinnedSource) -> PinnedSource:
    """The source, whose filter reads other tables as they are now. Its frame stays."""
    if source.where is None or source.filter is None or not source.filter.tables:
        return source
    pinned = pin_tables(source.frame.sparkSession, "where", source.where)
    return replace(source, filter=pinned)


def read_again(source: PinnedSource) -> PinnedSource:
    """The source at the same version, and its filter as the session understands it now."""
    if source.filter is None:
        return source
    frame = read_version(source.frame.sparkSession, source.ref, source.version)
    return replace(source, frame=frame.where(source.filter.sql))


def _filtered(source: PinnedSource, where: str) -> PinnedSource:
    pinned = pin_tables(source.frame.sparkSession, "where", where)
    try:
        frame = source.frame.where(pinned.sql)
    except (AnalysisException, ParseException) as error:
        if pinned.sql == where:
            raise SourceError.bad_filter(source.ref.text, where, first_line(error)) from error
        pinned = pinned.as_written()
        try:
            frame = source.frame.where(where)
        except (AnalysisException, ParseException) as other:
            raise SourceError.bad_filter(source.ref.text, where, first_line(other)) from other
    return replace(source, frame=frame, filter=pinned)


def _pin_version(spark: SparkSession, ref: TableRef, version: int | None, timestamp: str | None) -> int:
    newest = int(history(spark, ref, limit=1).collect()[0]["version"])
    if version is None and timestamp is None:
        return newest
    versions = history(spark, ref).select("version", F.unix_micros("timestamp").alias("micros")).collect()
    oldest = min(int(row["version"]) for row in versions)
    if version is not None:
        if not oldest <= version <= newest:
            raise SourceError.no_version(ref.text, f"version {version}", oldest, newest)
        return version
    until = _micros(str(timestamp))
    candidates = [int(row["version"]) for row in versions if row["micros"] <= until]
    if not candidates:
        raise SourceError.no_version(ref.text, f"version as early as {timestamp}", oldest, newest)
    return max(candidates)


def _micros(timestamp: str) -> int:
    """ISO 8601 to microseconds since the epoch; UTC where no offset is given."""
    try:
        moment = dt.datetime.fromisoformat(timestamp.replace("Z", "+00:00"))  # Python 3.10 knows no Z
    except ValueError as error:
        fix = "write it like 2026-01-31T23:59:59 (UTC) or with an offset"
        raise JobError([Problem("source.timestamp", f"{timestamp!r} is no ISO 8601 time", fix)]) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)
