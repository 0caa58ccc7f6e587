"""What a stream makes of its source's commits: rows that are new, put in the place of others, or passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.delta.ledger import REPLACES_TABLE, read_commits

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.source import PinnedSource

_ADDS_ONLY = frozenset(
    {"COPY INTO", "CREATE TABLE", "CREATE TABLE AS SELECT", "UPDATE SCHEMA", "ROW TRACKING BACKFILL"}
)
_REMOVES_ONLY = frozenset({"DELETE", "TRUNCATE", "UPDATE"})
_OTHER_COLUMNS = frozenset({"RENAME COLUMN", "DROP COLUMNS", "REPLACE COLUMNS"})
"""Operations of a table's history by what a stream makes of them."""


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
            return operation in REPLACES_TABLE


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
