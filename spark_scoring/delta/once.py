"""Exactly once: a run whose rows are there is not made again, and one that is cut short can be.

Delta's transaction mark (app id, version) keeps a write from being made twice, but it outlives the data: after a
RESTORE, a DELETE or another overwrite it would still hold a rerun off. So the history is asked first whether an
equal run is there and whole; the mark guards against two such runs at the same time. Micro-batches of one
checkpoint share an app id, so that a stream leaves one mark and not one for each batch; their generations rise.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import CommitError
from spark_scoring.delta.failures import is_conflict
from spark_scoring.delta.ledger import Commit, RunFacts, find_commit, is_merged_by, read_commits
from spark_scoring.delta.sink import write
from spark_scoring.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.delta.sink import Rows
    from spark_scoring.delta.target import Target

_PAUSES = (0.5, 2.0, 8.0)
"""Seconds between the tries of a write that other writers get in the way of; each up to twice as long."""


@dataclass(frozen=True)
class Standing:
    """What a table's history says of a run."""

    whole: Commit | None = None
    """The newest commit of the same run all of whose rows are still there."""
    generation: int = 1
    """Of the next write."""
    remains: str | None = None
    """SQL condition of rows that an append replaces: of equal runs of whose rows some are gone and some are not, and
    of a stream that starts over."""
    may_add: bool = False
    """Whether an append may add to rows that an earlier run has left, should the history not tell of it."""
    is_keyed: bool = True
    """Whether the history says that a merge's key tells the table's rows apart."""


@dataclass(frozen=True)
class Written:
    """A run's commit, and whether an earlier run had made it."""

    commit: Commit
    is_earlier: bool = False


def standing(
    spark: SparkSession, target: Target, run: RunFacts, *, force: bool = False, whole_history: bool = False
) -> Standing:
    """What is left of earlier runs that were the same. Counts rows only where a later commit may have taken some away.

    A forced run does not look at them.
    """
    if target.schema is None:
        return Standing(generation=run.first_generation)
    commits = read_commits(spark, target.ref, **({"limit": None} if whole_history else {}))
    is_keyed = not target.writing.key or is_merged_by(commits, target.writing.key)
    own = [(i, c, c.facts) for i, c in enumerate(commits) if c.facts is not None and c.facts.is_same_run(run)]
    generation = max((facts.generation + 1 for _, _, facts in own), default=run.first_generation)
    if force:
        return Standing(None, generation, may_add=True, is_keyed=is_keyed)
    remains: list[str] = []
    for i, commit, facts in own:
        left = _rows_left(spark, target, commit, facts, commits[:i])
        if left == commit.rows:
            return Standing(commit, generation)
        if left and facts.mode == "append":
            remains.append(facts.run_id)
    remaining = _of_runs(run, remains) or _of_earlier_starts(spark, target, run)
    return Standing(None, generation, remaining, is_keyed=is_keyed)


def _of_runs(run: RunFacts, ids: Sequence[str]) -> str | None:
    return f"{quote(run.run_column)} IN ({', '.join(literal(i) for i in ids)})" if ids else None


def _of_earlier_starts(spark: SparkSession, target: Target, run: RunFacts) -> str | None:
    """The rows that a stream has in the table before its first batch, if there are any."""
    if run.stream is None or run.batch != 0 or target.writing.mode != "append":
        return None
    condition = rows_of_stream(run.run_column, run.stream)
    return None if spark.table(target.ref.sql).where(condition).isEmpty() else condition


def rows_of_stream(run_column: str, stream: str) -> str:
    """SQL condition of the rows that a stream has written, however long ago: its runs' ids end with its key."""
    return f"{quote(run_column)} LIKE {literal(f'%-{stream}')}"


def _rows_left(spark: SparkSession, target: Target, commit: Commit, facts: RunFacts, later: Sequence[Commit]) -> int:
    """How many of a commit's rows the table still holds; -1: not to be told by counting."""
    if not any(c.changes_rows for c in later):
        return commit.rows
    if facts.mode == "merge" or commit.rows == 0:  # what it left as it was carries the ids of other runs
        return -1
    return spark.table(target.ref.sql).where(F.col(quote(facts.run_column)) == facts.run_id).count()


def standing_apart(
    spark: SparkSession, quarantine: Target, output: Target, run: RunFacts, *, force: bool, whole_history: bool = False
) -> Standing:
    """What a quarantine holds of equal runs: none of them counts, as the output's commit is what makes a run.

    What is there of a run is replaced by the next one: the run died before it wrote its output, or its output is
    gone. A forced run adds to those whose output was written.
    """
    if quarantine.schema is None:
        return Standing(generation=run.first_generation, may_add=True)
    runs = _runs_like(run, spark, quarantine, whole_history=whole_history)
    kept: set[str] = set()
    if force and output.schema is not None:
        kept = {facts.run_id for facts in _runs_like(run, spark, output, whole_history=whole_history)}
    generation = max((facts.generation + 1 for facts in runs), default=run.first_generation)
    remains = _of_earlier_starts(spark, quarantine, run)
    remains = remains or _of_runs(run, [facts.run_id for facts in runs if facts.run_id not in kept])
    return Standing(None, generation, remains, may_add=True)


def _runs_like(run: RunFacts, spark: SparkSession, target: Target, *, whole_history: bool) -> list[RunFacts]:
    commits = read_commits(spark, target.ref, **({"limit": None} if whole_history else {}))
    return [c.facts for c in commits if c.facts is not None and c.facts.is_same_run(run)]


def write_once(
    rows: Rows,
    target: Target,
    facts: RunFacts,
    before: Standing,
    *,
    refresh: Callable[[], Target],
    look: Callable[[Target, bool], Standing],
) -> Written:
    """Write a run's rows in one commit, unless an equal run at the same time has. Runs the job.

    A write that other writers get in the way of is tried again, a few times.

    Args:
        rows: what there is to write.
        target: where to, as it was inspected.
        facts: of the run; its generation is set here.
        before: what is left of earlier runs.
        refresh: inspects and checks the target anew.
        look: what is left of earlier runs that were the same in it then, by its whole history if so asked.

    Raises:
        CommitError: the table's history does not hold the run, or no longer tells of an earlier one.
        Exception: whatever Spark raised; nothing was committed.

    """
    spark = rows.frame.sparkSession
    for pause in (*_PAUSES, None):
        error = _try(rows, target, replace(facts, generation=before.generation), before)
        if error is None and (commit := find_commit(spark, target.ref, facts.run_id)):
            return Written(commit)
        if error is not None and (pause is None or not is_conflict(error)):
            raise error
        target = refresh()
        now = look(target, error is None)
        if now.whole is not None:
            return Written(now.whole, is_earlier=_run_id(now.whole) != facts.run_id)
        # Without an error Delta passed over the write: its mark is of this generation or a later one.
        before = now if error is not None else _beyond_the_mark(target, facts, before, now)
        if error is not None and pause is not None:
            time.sleep(pause * random.uniform(1, 2))  # noqa: S311  so that two writers part
    raise CommitError.not_found(target.ref.text)


def _try(rows: Rows, target: Target, facts: RunFacts, before: Standing) -> Exception | None:
    try:
        write(rows, target, facts, replaced=before.remains)
    except Exception as error:  # noqa: BLE001  the caller knows which are worth another try
        return error
    return None


def _run_id(commit: Commit) -> str | None:
    return commit.facts.run_id if commit.facts is not None else None


def _beyond_the_mark(target: Target, facts: RunFacts, before: Standing, now: Standing) -> Standing:
    """The next generation where the history no longer holds the one that the mark is of."""
    if now.generation > before.generation:
        return now
    if target.writing.mode == "append" and not now.may_add:
        raise CommitError.before_history(target.ref.text)
    return replace(now, generation=facts.first_generation + int(time.time()))
