"""Take one run back: remove its rows, or put back what they replaced, as long as nobody built on them since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.history_errors import HistoryError, RollbackFailedError
from spark_scoring.delta.ledger import LEDGER_KEY, Commit, RunFacts, read_commits
from spark_scoring.delta.names import QUARANTINE, resolve, with_suffix
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.settings import writing_settings
from spark_scoring.delta.sink import METADATA_SETTING
from spark_scoring.delta.tables import is_delta, read_version, save_over
from spark_scoring.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.names import TableRef

_FILES_ONLY = frozenset({"OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "COMPUTE STATS", "ANALYZE TABLE"})
"""Operations that a restore of an older version does not lose."""

_SHORTEST = 8
"""Characters of a run's id."""

Way = Literal["delete", "restore", "empty", "replace", "merge"]
"""How a run is taken back: its rows deleted, the version before it restored, the whole table emptied, the part that
it replaced put back, or the rows that it merged."""


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did to a table."""

    run_id: str
    table: str
    way: Way
    version: int
    """The version that it made."""

    def __repr__(self) -> str:
        return f"<RolledBack {self}>"

    def __str__(self) -> str:
        return f"run {self.run_id} rolled back in {self.table} ({self.way}), version {self.version}"


@dataclass(frozen=True)
class _Step:
    """A table and how the run is taken back in it."""

    ref: TableRef
    commit: Commit
    facts: RunFacts
    way: Way
    newest: int


def roll_back(spark: SparkSession, ref: TableRef, run_id: str) -> list[RolledBack]:
    """Take a run back in its output and its quarantine, each in a commit of its own that names the run.

    Args:
        spark: the session.
        ref: the output.
        run_id: of the run; its first eight characters or more will do.

    Returns:
        What was done, table by table; one that an earlier rollback has done with is left out.

    Raises:
        HistoryError: no such run, or others changed or replaced its rows since; nothing was changed.
        RollbackFailedError: Delta refused, or another writer came between.

    """
    commits = read_commits(spark, ref, limit=None)
    facts = _run(commits, ref, run_id)
    steps = [_step(spark, ref, commits, facts)]
    if facts.quarantine is not None:
        apart = resolve(spark, **with_suffix(QUARANTINE, table=None if ref.path else ref.text, path=ref.path))
        if is_delta(spark, apart):
            steps.append(_step(spark, apart, read_commits(spark, apart, limit=None), facts))
    done = [_take(spark, step) for step in steps if step is not None]
    if not done:
        raise HistoryError.already(ref.text, facts.run_id)
    return done


def _run(commits: Sequence[Commit], ref: TableRef, run_id: str) -> RunFacts:
    """The run of a table whose id begins so."""
    runs = {c.facts.run_id: c.facts for c in commits if c.facts is not None and c.facts.part == "predictions"}
    found = [facts for known, facts in runs.items() if known.startswith(run_id)]
    if len(found) != 1 or len(run_id) < _SHORTEST:
        raise HistoryError.no_run(ref.text, run_id, list(runs), ambiguous=bool(found))
    return found[0]


def _step(spark: SparkSession, ref: TableRef, commits: Sequence[Commit], run: RunFacts) -> _Step | None:
    """How the run is taken back in a table; None where it wrote nothing there or was taken back already."""
    place = next((i for i, c in enumerate(commits) if c.facts is not None and c.facts.run_id == run.run_id), None)
    if place is None or any(c.rolled_back == run.run_id for c in commits[:place]):
        return None
    commit, later = commits[place], commits[:place]
    facts = commit.facts or run
    way = _way(commit, facts, later)
    if way is None:
        blocking = [c for c in later if c.operation not in _FILES_ONLY]
        raise HistoryError.built_upon(ref.text, run.run_id, [_commit_text(c) for c in blocking])
    if facts.replace_where:  # whoever may write the table may have put it into its history
        check_sql(spark, f"replace_where of run {facts.run_id}", facts.replace_where, spark.table(ref.sql).columns)
    if any(c.changes_rows for c in later):
        _check_untouched(spark, ref, commit, facts)
    return _Step(ref, commit, facts, way, commits[0].version)


def _way(commit: Commit, facts: RunFacts, later: Sequence[Commit]) -> Way | None:
    """How a commit can be undone after those that came later; None: not at all."""
    is_last = all(c.operation in _FILES_ONLY for c in later)
    match facts.mode:
        case "append":
            return "delete"
        case _ if commit.version == 0:
            return "empty" if is_last else None
        case _ if is_last:
            return "restore"
        case "overwrite" if facts.replace_where is not None:
            return "replace"
        case "merge" if commit.operation == "MERGE" and commit.metric("numTargetRowsDeleted") == 0:
            return "merge"
        case _:
            return None


def _check_untouched(spark: SparkSession, ref: TableRef, commit: Commit, facts: RunFacts) -> None:
    """Whether the rows of the run, or of the part that it replaced, are those that it left."""
    scope = F.expr(facts.replace_where) if facts.replace_where else F.col(quote(facts.run_column)) == facts.run_id
    left = _as_text(read_version(spark, ref, commit.version).where(scope))
    now = _as_text(spark.table(ref.sql).where(scope))
    if not (left.exceptAll(now).isEmpty() and now.exceptAll(left).isEmpty()):
        raise HistoryError.touched(ref.text, facts.run_id)


def _as_text(frame: DataFrame) -> DataFrame:
    """Rows that can be compared, whatever their types are."""
    return frame.select(F.to_json(F.struct(*[F.col(quote(name)) for name in frame.columns])).alias("row"))


def _take(spark: SparkSession, step: _Step) -> RolledBack:
    metadata = json.dumps({LEDGER_KEY: {"rolled_back": step.facts.run_id}})
    try:
        with writing_settings(spark, {METADATA_SETTING: metadata}):
            _undo(spark, step)
    except Exception as error:
        raise RollbackFailedError.refused(step.ref.text, step.facts.run_id, type(error).__name__) from error
    made = next(c for c in read_commits(spark, step.ref) if c.rolled_back == step.facts.run_id)
    if step.way in ("restore", "empty") and made.version != step.newest + 1:
        raise RollbackFailedError.overtaken(step.ref.text, made.version, made.version - step.newest - 1)
    return RolledBack(step.facts.run_id, step.ref.text, step.way, made.version)


def _undo(spark: SparkSession, step: _Step) -> None:
    table, before, facts = step.ref.sql, step.commit.version - 1, step.facts
    own = f"{quote(facts.run_column)} = {literal(facts.run_id)}"
    match step.way:
        case "delete":
            spark.sql(f"DELETE FROM {table} WHERE {own}").collect()  # noqa: S608
        case "empty":
            spark.sql(f"DELETE FROM {table}").collect()  # noqa: S608
        case "restore":
            spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF {before}").collect()
        case "replace":
            condition = str(facts.replace_where)
            old = read_version(spark, step.ref, before).where(condition)
            writer = old.write.format("delta").mode("overwrite").option("replaceWhere", condition)
            save_over(writer, spark, step.ref)
        case "merge":
            on = " AND ".join(f"t.{quote(name)} = s.{quote(name)}" for name in facts.key)
            columns = read_version(spark, step.ref, before).columns
            known = {name.lower() for name in columns}
            newer = [name for name in spark.table(table).columns if name.lower() not in known]
            values = ", ".join(
                [*(f"{quote(n)} = s.{quote(n)}" for n in columns), *(f"{quote(n)} = NULL" for n in newer)]
            )
            spark.sql(
                f"MERGE INTO {table} AS t USING (SELECT * FROM {table} VERSION AS OF {before}) AS s ON {on} "  # noqa: S608
                f"WHEN MATCHED AND t.{own} THEN UPDATE SET {values} "
                f"WHEN NOT MATCHED BY SOURCE AND t.{own} THEN DELETE"
            ).collect()


def _commit_text(commit: Commit) -> str:
    run = f" of run {commit.facts.run_id}" if commit.facts is not None else ""
    return f"version {commit.version} ({commit.operation}{run})"
