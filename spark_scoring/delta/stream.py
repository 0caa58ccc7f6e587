"""What is new in a source since the last run: a stream from Delta, its checkpoint, and the changes of a batch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pyspark.errors import AnalysisException
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError, StreamError
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve, without_file_scheme
from spark_scoring.delta.once import rows_of_stream
from spark_scoring.delta.tables import describe_table, read_version
from spark_scoring.delta.target import CHECKPOINTS
from spark_scoring.sql import free_prefix, literal, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.delta.target import Target

Changes = Literal["refuse", "ignore", "follow"]

_CHANGE, _COMMIT = "_change_type", "_commit_version"
_FEED = "-feed"
"""Ends the folder's name of a checkpoint that counts what the change data feed holds, and not the table's files."""
_ADDS_ONLY = frozenset(
    {"COPY INTO", "CREATE TABLE", "CREATE TABLE AS SELECT", "UPDATE SCHEMA", "ROW TRACKING BACKFILL"}
)
_REMOVES_ONLY = frozenset({"DELETE", "TRUNCATE", "UPDATE"})
_OTHER_COLUMNS = frozenset({"RENAME COLUMN", "DROP COLUMNS", "REPLACE COLUMNS"})
_REPLACES_TABLE = frozenset(
    {
        "REPLACE TABLE",
        "REPLACE TABLE AS SELECT",
        "CREATE OR REPLACE TABLE",
        "CREATE OR REPLACE TABLE AS SELECT",
        "CLONE",
    }
)
"""Operations of a table's history by what a stream makes of them."""


@dataclass(frozen=True)
class Checkpoint:
    """A stream's state: its folder, and how far it has come in its source."""

    folder: str
    id: str
    """Of the streaming query."""
    source_id: str | None
    """Delta's id of the table that it has read; None where it has read none."""
    version: int
    """The oldest version of the source of which something may not be in a finished batch."""
    has_batches: bool
    """Whether a batch is finished."""


def checkpoint_home(spark: SparkSession, target: Target, chosen: str | None, source: PinnedSource) -> str:
    """The folder of an output's checkpoints.

    Raises:
        StreamError: the output's folder is its catalog's own and no other was chosen, or tables would lose it.

    """
    if chosen is None:
        if target.path is None:
            raise StreamError.no_checkpoint_home(target.ref.text)
        return f"{target.path.rstrip('/')}/{CHECKPOINTS}"
    home = str(resolve(spark, path=chosen).path).rstrip("/")
    for table in (target.path, source.ref.path):
        inside = home.removeprefix(without_file_scheme(table).rstrip("/")) if table is not None else home
        if inside != home and not inside.startswith(("/_", "/.")) and inside[:1] in ("", "/"):
            raise StreamError.checkpoint_in_table(chosen)
    return home


def next_checkpoint(spark: SparkSession, home: str, *, feed: bool) -> str:
    """The folder of a new checkpoint. They are numbered, so that starting over needs nothing deleted."""
    number = max((_number(folder) for folder in _begun(spark, home)), default=-1) + 1
    return f"{home}/{number}{_FEED if feed else ''}"


def newest_checkpoint(spark: SparkSession, home: str) -> Checkpoint | None:
    """The newest checkpoint below a folder, and how far it has come; None where none was begun.

    Raises:
        StreamError: what is there is not a checkpoint.

    """
    begun = _begun(spark, home)
    if not begun:
        return None
    folder = f"{home}/{max(begun, key=_number)}"
    texts = _texts(spark, folder, "{offsets,commits}")
    offsets, finished = _by_batch(texts, "offsets"), _by_batch(texts, "commits")
    try:
        known = {number: json.loads(text.strip().splitlines()[-1]) for number, text in offsets.items()}
        done = [number for number in finished if number in known]
        last = known[max(done)] if done else known[min(known)] if known else {}
        source_id = str(known[max(known)]["reservoirId"]) if known else None
        version = int(last.get("reservoirVersion", 0)) + int(bool(last.get("isStartingVersion")))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StreamError.bad_checkpoint(folder) from error
    return Checkpoint(folder, str(checkpoint_id(spark, folder)), source_id, version, bool(done))


def streams_beside(spark: SparkSession, home: str, prefix: str) -> list[str]:
    """The folders of streams whose names begin so."""
    return sorted({file.split("/")[-3] for file in _texts(spark, home, f"{prefix}*/*/metadata")})


def reads_feed(checkpoint: str) -> bool:
    """Whether a checkpoint's stream reads the source's change data feed."""
    return checkpoint.endswith(_FEED)


def _begun(spark: SparkSession, home: str) -> list[str]:
    """The names of a stream's checkpoints that were begun."""
    names = {file.split("/")[-2] for file in _texts(spark, home, "*/metadata")}
    return [name for name in names if re.fullmatch(rf"\d+({_FEED})?", name)]


def _number(name: str) -> int:
    return int(name.removesuffix(_FEED))


def _by_batch(texts: Mapping[str, str], kind: str) -> dict[int, str]:
    """Files of a checkpoint by the number of their batch."""
    parts = {file: file.split("/") for file in texts}
    return {int(p[-1]): texts[file] for file, p in parts.items() if p[-2] == kind and p[-1].isdecimal()}


def checkpoint_id(spark: SparkSession, folder: str) -> str | None:
    """The id of the streaming query that a checkpoint belongs to; None where there is none.

    Raises:
        StreamError: what is there is not a checkpoint.

    """
    lines = _lines(spark, f"{folder}/metadata")
    if lines is None:
        return None
    try:
        return str(json.loads("".join(lines))["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise StreamError.bad_checkpoint(folder) from error


def newest_version(spark: SparkSession, folder: str, batch: int) -> int:
    """The newest version of the source that a micro-batch holds rows of, by the checkpoint.

    Its offset is of the next file to read: an index below 0 means that no file of its version was read.

    Raises:
        StreamError: the checkpoint does not tell.

    """
    lines = _lines(spark, f"{folder}/offsets/{batch}") or [""]
    try:
        offset = json.loads(lines[-1])
        return int(offset["reservoirVersion"]) - int(offset["index"] < 0)
    except (ValueError, KeyError, TypeError) as error:
        raise StreamError.bad_checkpoint(folder) from error


def _lines(spark: SparkSession, file: str) -> list[str] | None:
    """A text file's lines, wherever it is; None where it is not."""
    folder, _, name = file.rpartition("/")
    texts = _texts(spark, folder, name)
    return next(iter(texts.values())).strip().splitlines() if texts else None


def _texts(spark: SparkSession, folder: str, pattern: str) -> dict[str, str]:
    """The small text files that a pattern finds below a folder, wherever it is: path -> text."""
    below = re.sub(r"([\[\]{}*?\\])", r"\\\1", folder)
    try:
        files = spark.read.text(f"{below}/{pattern}", wholetext=True).select("_metadata.file_path", "value")
        return {row["file_path"]: row["value"] for row in files.coalesce(1).collect()}
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            return {}
        raise


def has_rows(spark: SparkSession, target: Target, run_column: str, stream: str) -> bool:
    """Whether a stream has written rows that are still there. Reads the output's run ids."""
    return _has(spark, target, run_column, rows_of_stream(run_column, stream))


def has_rows_of_run(spark: SparkSession, target: Target, run_column: str, run_id: str) -> bool:
    """Whether rows of a run are still there: a restored table's history has runs whose rows are gone."""
    return _has(spark, target, run_column, f"{quote(run_column)} = {literal(run_id)}")


def _has(spark: SparkSession, target: Target, run_column: str, condition: str) -> bool:
    """Whether rows of a condition on the run's column are in the output; False where it has no such column."""
    if target.schema is None or run_column.lower() not in {name.lower() for name in target.schema.names}:
        return False
    return not spark.table(target.ref.sql).where(condition).isEmpty()


def commits_of_stream(spark: SparkSession, target: Target, stream: str) -> list[Commit]:
    """The output's commits of a stream, the oldest first; as far as its newest thousand commits reach back."""
    if target.schema is None:
        return []
    own = [c for c in read_commits(spark, target.ref) if c.facts is not None and c.facts.stream == stream]
    return [c for c in reversed(own) if c.facts is not None and c.facts.part == "predictions"]


def holds_batches(spark: SparkSession, target: Target, stream: str) -> bool:
    """Whether the output still holds a stream's finished batches: it was not restored to before them, nor made anew.

    Rows that were deleted, and batches that were rolled back, do not matter. Reads its newest thousand commits.
    """
    if target.schema is None:
        return False
    commits = read_commits(spark, target.ref)
    own = [c for c in commits if c.facts is not None and c.facts.stream == stream and c.facts.part == "predictions"]
    if not own:
        return commits[-1].version > 0  # else none has ever been there
    begin = next((c.version for c in own if c.facts is not None and c.facts.batch == 0), 0)
    made = {c.version for c in own if c.version >= begin and (c.rows or (c.facts is not None and c.facts.removed))}
    return made <= _ancestors(spark, commits)


def _ancestors(spark: SparkSession, commits: Sequence[Commit]) -> set[int]:
    """The versions that a table is built from: what a restore has jumped over is none of them."""
    by_version = {commit.version: commit for commit in commits}
    seen: set[int] = set()
    version = commits[0].version
    while (commit := by_version.get(version)) is not None and version not in seen:
        seen.add(version)
        if commit.operation in _REPLACES_TABLE:
            break
        jumps = commit.operation == "RESTORE" and commit.rolled_back is None
        version = _restored_version(spark, commit, commits) if jumps else version - 1
    return seen


def _restored_version(spark: SparkSession, restore: Commit, commits: Sequence[Commit]) -> int:
    """The version that a restore brought back; -1 where it is not to be told."""
    if (version := restore.parameters.get("version")) is not None:
        return int(version)
    moment = F.unix_micros(F.lit(restore.parameters.get("timestamp")).cast("timestamp"))
    micros = spark.range(1).select(moment.alias("micros")).collect()[0]["micros"]
    older = [c for c in commits if c.version < restore.version and micros is not None]
    return max((c.version for c in older if round(c.committed * 1e6) <= micros), default=-1)


def commits_of_source(spark: SparkSession, source: PinnedSource, since: int, until: int) -> list[Commit]:
    """The source's commits of some versions, both ends included, the oldest first."""
    if until < since:
        return []
    commits = read_commits(spark, source.ref, max(source.delta_version, until) - since + 1)
    return [commit for commit in reversed(commits) if since <= commit.version <= until]


def alters_columns(commit: Commit) -> bool:
    """Whether a stream that was begun before does not read over it: columns got another name, or went."""
    return commit.operation in _OTHER_COLUMNS


def replaces_rows(commit: Commit) -> bool | None:
    """Whether it puts rows in the place of all or of a part of the source's; None where its history does not say."""
    metrics = commit.metrics
    match commit.operation:
        case "RESTORE":
            return any(metrics.get(name) != "0" for name in ("numRestoredFiles", "numRemovedFiles"))
        case "WRITE" | "STREAMING UPDATE" if commit.changes_rows:
            removed = metrics.get("numRemovedFiles")
            return None if removed is None else removed != "0"
        case operation:
            return operation in _REPLACES_TABLE


def rows_passed_over(commit: Commit) -> int | None:
    """Rows that it inserts beside what it updates or deletes: a stream of files that skips it does not see them.

    None where its history does not say.
    """
    match commit.operation:
        case operation if operation in _ADDS_ONLY | _REMOVES_ONLY | _OTHER_COLUMNS:
            return 0
        case "MERGE":
            touched = ("numTargetFilesRemoved", "numTargetDeletionVectorsAdded", "numTargetDeletionVectorsUpdated")
            only_inserts = all(commit.metrics.get(name, "0") == "0" for name in touched)
            inserted = commit.metrics.get("numTargetRowsInserted")
            return None if inserted is None else 0 if only_inserts else int(inserted)
        case _ if not commit.changes_rows or replaces_rows(commit) is False:
            return 0
        case _:
            return commit.rows if "numOutputRows" in commit.metrics else None


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
