"""What is new in a source since the last run: a stream from Delta, and the rows of a micro-batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.once import rows_of_stream
from spark_scoring.delta.stream_output import has_rows
from spark_scoring.delta.tables import describe_table, read_version
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.delta.target import Target

Changes = Literal["refuse", "ignore", "follow"]

_CHANGE, _COMMIT = "_change_type", "_commit_version"


def has_change_feed(spark: SparkSession, source: PinnedSource) -> bool:
    """Whether a source has a change data feed now."""
    properties = (describe_table(spark, source.ref) or {}).get("properties") or {}
    return str(properties.get("delta.enableChangeDataFeed")).lower() == "true"


def check_change_feed(spark: SparkSession, source: PinnedSource) -> None:
    """Refuse a source without a change data feed.

    Raises:
        SourceError: says how it gets one.

    """
    if not has_change_feed(spark, source):
        raise SourceError.no_change_feed(source.ref.text, source.ref.sql)


def open_stream(
    spark: SparkSession, source: PinnedSource, changes: Changes, files_per_batch: int, *, feed: bool
) -> DataFrame:
    """The source as a stream: at first all that it holds, then what is added or, of its change data feed, what changes.

    Raises:
        SourceError: it no longer has the columns that were planned with.

    """
    reader = spark.readStream.format("delta").options(maxFilesPerTrigger=files_per_batch)
    if feed:
        reader = reader.option("readChangeFeed", "true")
    elif changes == "ignore":
        reader = reader.option("skipChangeCommits", "true")
    stream = reader.table(source.ref.sql) if source.ref.path is None else reader.load(source.ref.path)
    types = {field.name: field.dataType for field in stream.schema.fields}
    changed = [field.name for field in source.frame.schema.fields if types.get(field.name) != field.dataType]
    if changed:
        raise SourceError.columns_changed(source.ref.text, changed)
    return stream


def start_query(stream: DataFrame, checkpoint: str, batch: Callable[[DataFrame, int], None]) -> StreamingQuery:
    """Hand over all that is new, micro-batch by micro-batch, and end; each one until its function returns."""
    writer = stream.writeStream.option("checkpointLocation", checkpoint).foreachBatch(batch)
    return writer.trigger(availableNow=True).start()


def new_rows(
    batch: DataFrame, source: PinnedSource, changes: Changes, key: Sequence[str], *, feed: bool
) -> PinnedSource:
    """A micro-batch in the place of the source: its rows that the source's filter passes, in its columns.

    Where changes are followed, each key's newest row, and the keys that have none: whose row was deleted, got
    another key or no longer passes the filter. Two rows of one key in one version are both kept, to be refused.
    Of a change data feed that is not followed, the rows that were inserted.
    """
    columns = [F.col(quote(name)) for name in source.frame.columns]
    if source.filter is not None:
        batch = batch.where(source.filter.sql)
    follows = changes == "follow"
    if feed and not follows:
        batch = batch.where(F.col(_CHANGE) == "insert")
    if not feed or not key:
        return replace(source, frame=batch.select(*columns))
    removal = F.col(_CHANGE).isin("delete", "update_preimage")
    newest = Window.partitionBy(*[quote(name) for name in key]).orderBy(F.col(_COMMIT).desc(), removal)
    rank = free_prefix("_rank", batch.columns)
    latest = batch.withColumn(rank, F.rank().over(newest)).where(f"{rank} = 1")
    keys = latest.where(removal).select(*[quote(name) for name in key]).dropna().distinct()
    return replace(source, frame=latest.where(~removal).select(*columns), removed=keys if follows else None)


def changes_rows(batch: DataFrame) -> bool:
    """Whether a micro-batch of the change data feed holds rows that were updated or deleted. Runs a job."""
    return not batch.where(F.col(_CHANGE) != "insert").isEmpty()


def without_source(batch: PinnedSource, tables: Sequence[Target], run_column: str, stream: str) -> PinnedSource:
    """The first micro-batch of a merge that follows changes: what an earlier start has left of rows that are gone, too.

    The keys of the stream's rows in the output, and in its quarantine, that the source does not hold at the version
    that the batch has come to.
    """
    spark, names = batch.frame.sparkSession, tables[0].writing.key
    keys = [F.col(quote(name)) for name in names]
    left = [
        read_version(spark, table.ref, read_commits(spark, table.ref, 1)[0].version)
        .where(rows_of_stream(run_column, stream))
        .select(*keys)
        for table in tables
        if has_rows(spark, table, run_column, stream)
    ]
    if not left:
        return batch
    there = read_version(spark, batch.ref, batch.delta_version)
    there = there if batch.filter is None else there.where(batch.filter.sql)
    held = there.select(*keys).union(batch.frame.select(*keys))
    gone = left[0] if len(left) == 1 else left[0].union(left[1])
    gone = gone.dropna().join(held, on=list(names), how="left_anti")
    removed = gone if batch.removed is None else gone.union(batch.removed.select(*keys))
    return replace(batch, removed=removed.distinct())
