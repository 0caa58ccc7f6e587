"""What an output holds of an incremental job: its rows, its commits, and whether a restore took some of them away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.ledger import REPLACES_TABLE, read_commits
from spark_scoring.delta.once import rows_of_stream
from spark_scoring.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.target import Target


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
        if commit.operation in REPLACES_TABLE:
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
