"""What is new in a source since the last run: a stream from Delta, its checkpoint, and the changes of a batch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pyspark.errors import AnalysisException
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve, without_file_scheme
from spark_scoring.delta.once import rows_of_stream
from spark_scoring.delta.sink import CHECKPOINTS
from spark_scoring.delta.source import describe_table
from spark_scoring.errors import SourceError, StreamError
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.sink import Target
    from spark_scoring.delta.source import PinnedSource

Changes = Literal["refuse", "ignore", "follow"]

_CHANGE, _COMMIT = "_change_type", "_commit_version"
_OPTIONS: dict[Changes, dict[str, str]] = {
    "refuse": {},
    "ignore": {"skipChangeCommits": "true"},
    "follow": {"readChangeFeed": "true"},
}


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


def find_checkpoint(spark: SparkSession, home: str, *, anew: bool) -> tuple[str, str | None]:
    """The newest checkpoint below a folder, or a new one beside it: its folder and, if it was begun, its id.

    They are numbered, so that starting over needs nothing deleted.
    """
    number, newest = 0, None
    while found := checkpoint_id(spark, f"{home}/{number}"):
        number, newest = number + 1, found
    return (f"{home}/{number}", None) if anew or newest is None else (f"{home}/{number - 1}", newest)


def checkpoint_id(spark: SparkSession, folder: str) -> str | None:
    """The id of the streaming query that a checkpoint belongs to; None where there is none.

    Raises:
        StreamError: what is there is no checkpoint.

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
    try:
        rows = spark.read.text(re.sub(r"([\[\]{}*?\\])", r"\\\1", file)).coalesce(1).collect()
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            return None
        raise
    return [row["value"] for row in rows]


def has_rows(spark: SparkSession, target: Target, run_column: str, stream: str) -> bool:
    """Whether a stream has written rows that are still there. Reads the output's run ids."""
    if target.schema is None or run_column.lower() not in {name.lower() for name in target.schema.names}:
        return False
    return not spark.table(target.ref.sql).where(rows_of_stream(run_column, stream)).isEmpty()


def commits_of_stream(spark: SparkSession, target: Target, stream: str) -> list[Commit]:
    """The output's commits of a stream, the oldest first; as far as its newest thousand commits reach back."""
    if target.schema is None:
        return []
    own = [c for c in read_commits(spark, target.ref) if c.facts is not None and c.facts.stream == stream]
    return [c for c in reversed(own) if c.facts is not None and c.facts.part == "predictions"]


def check_change_feed(spark: SparkSession, source: PinnedSource) -> None:
    """Refuse a source without a change data feed.

    Raises:
        SourceError: says how it gets one.

    """
    detail = describe_table(spark, source.ref) or {}
    if str((detail.get("properties") or {}).get("delta.enableChangeDataFeed")).lower() != "true":
        raise SourceError.no_change_feed(source.ref.text, source.ref.sql)


def open_stream(spark: SparkSession, source: PinnedSource, changes: Changes, files_per_batch: int) -> DataFrame:
    """The source as a stream: at first all that it holds, then what is added or, with ``follow``, what changes.

    Raises:
        SourceError: it no longer has the columns that were planned with.

    """
    reader = spark.readStream.format("delta").options(**_OPTIONS[changes], maxFilesPerTrigger=files_per_batch)
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


def new_rows(batch: DataFrame, source: PinnedSource, changes: Changes, key: Sequence[str]) -> PinnedSource:
    """A micro-batch in the place of the source: its rows that the source's filter passes, in its columns.

    Where changes are followed, each key's newest row, and the keys that have none: whose row was deleted, got
    another key or no longer passes the filter. Two rows of one key in one version are both kept, to be refused.
    """
    columns = [F.col(quote(name)) for name in source.frame.columns]
    if source.where is not None:
        batch = batch.where(source.where)
    if changes != "follow":
        return replace(source, frame=batch.select(*columns))
    removal = F.col(_CHANGE).isin("delete", "update_preimage")
    newest = Window.partitionBy(*[quote(name) for name in key]).orderBy(F.col(_COMMIT).desc(), removal)
    rank = free_prefix("_rank", batch.columns)
    latest = batch.withColumn(rank, F.rank().over(newest)).where(f"{rank} = 1")
    keys = latest.where(removal).select(*[quote(name) for name in key]).dropna().distinct()
    return replace(source, frame=latest.where(~removal).select(*columns), removed=keys)
