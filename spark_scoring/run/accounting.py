"""Accounts for every row of a run: counted in the source, judged before the commit, and found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from spark_scoring.delta.errors import BadRowsError, CommitError, DuplicateKeyError
from spark_scoring.delta.stored import keys_as_stored, spelled
from spark_scoring.engine.errors import ModelFailedError
from spark_scoring.run.plan import allowed_text
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from spark_scoring.delta.ledger import Commit, RunFacts
    from spark_scoring.report.bad_rows import RowCounts
    from spark_scoring.run.plan import JobPlan

_MOST_BAD = 0.5
"""The share of bad rows that a job allows if it does not say how many."""
_FEW_OF_BATCH = 100
"""So many rows of a micro-batch are not all bad by chance."""


def count_source(plan: JobPlan) -> int:
    """Rows that the run has to account for. Of a merge, the rows per key are counted.

    Raises:
        DuplicateKeyError: a key is null, or in more than one row.

    """
    key = plan.target.writing.key
    if not key:
        return plan.source.frame.count()
    tables = [table for table in (plan.target, plan.quarantine) if table is not None and table.schema is not None]
    columns, blank = keys_as_stored(key, [(table.schema, table.partitions) for table in tables])
    has_null = F.lit(False)  # noqa: FBT003
    for name in key:
        has_null |= F.col(quote(name)).isNull()
    n = F.col("count")
    repeated = ~has_null & (n > 1)
    found = (
        plan.source.frame.groupBy(*columns)
        .count()
        .agg(
            F.coalesce(F.sum(n), F.lit(0)).alias("rows"),
            F.coalesce(F.sum(F.when(has_null, n)), F.lit(0)).alias("nulls"),
            F.count(F.when(repeated, n)).alias("repeated"),
            F.coalesce(F.sum(F.when(repeated, n)), F.lit(0)).alias("repeated_rows"),
        )
        .collect()[0]
    )
    if found["nulls"] or found["repeated"]:
        raise DuplicateKeyError.not_unique(key, found["nulls"], found["repeated"], found["repeated_rows"], blank)
    return int(found["rows"])


def check_output_keys(plan: JobPlan) -> None:
    """Whether a merge's key tells the output's rows apart: a merge would update each row that has it, and leave them.

    Reads the key's columns of the whole output.

    Raises:
        DuplicateKeyError: rows of the output have the same key.

    """
    target, n = plan.target, F.col("count")
    named = spelled(target.schema or StructType())
    key = [quote(named.get(name.lower(), name)) for name in target.writing.key]
    present = plan.session.table(target.ref.sql).where(" AND ".join(f"{name} IS NOT NULL" for name in key))
    repeated = present.groupBy(*key).count().where(n > 1)
    found = repeated.agg(F.count(n).alias("keys"), F.sum(n).alias("rows")).collect()[0]
    if found["keys"]:
        raise DuplicateKeyError.not_unique_there(target.ref.text, target.writing.key, found["keys"], found["rows"])


def count_removed(plan: JobPlan) -> int:
    """Keys of a micro-batch whose rows are gone."""
    return 0 if plan.source.removed is None else plan.source.removed.count()


def most_bad(plan: JobPlan, rows: int) -> float | None:
    """Bad rows, or a share of the rows if it is a float, above which nothing is committed; None for as many as come.

    A micro-batch of few rows may hold nothing but bad ones: only what the job says is its limit.
    """
    if plan.max_bad_rows is not None:
        return plan.max_bad_rows
    return None if plan.increments is not None and rows < _FEW_OF_BATCH else _MOST_BAD


def check_counts(plan: JobPlan, facts: RunFacts, counts: RowCounts) -> None:
    """Look at a run's counted rows before anything is committed.

    Raises:
        CommitError: there are others than were read.
        ModelFailedError: the model raises on all of them.
        BadRowsError: more of them are bad than the job allows, or all.

    """
    if counts.rows != facts.rows_in:
        raise CommitError.counted(plan.target.ref.text, facts.rows_in, counts.rows)
    if _is_all_failed(plan, counts):
        reason = next(r.text for r in counts.reasons if r.feature is None)
        raise ModelFailedError.uncommitted(reason.partition(": ")[2], counts.rows)
    reasons = [(reason.text, reason.rows) for reason in counts.reasons]
    if _is_all_bad(plan, counts):
        raise BadRowsError.all_of_them(counts.rows, reasons)
    limit = most_bad(plan, counts.rows)
    if limit is not None and counts.bad > (limit * counts.rows if isinstance(limit, float) else limit):
        raise BadRowsError.too_many(counts.bad, counts.rows, allowed_text(limit), reasons)


def check_committed(plan: JobPlan, facts: RunFacts, counts: RowCounts, commit: Commit) -> None:
    """Look at the rows of a commit before which they could not be counted.

    Raises:
        ModelFailedError: the model raised on all of them.

    """
    if _is_all_failed(plan, counts):
        raise ModelFailedError.committed(facts.rows_in, plan.target.ref.text, commit.version)


def check_rows(plan: JobPlan, facts: RunFacts, commit: Commit, counts: RowCounts | None, apart: Commit | None) -> None:
    """Rows in are rows out and quarantined, by Delta's own counts; a merge is given all rows and the removed keys.

    Args:
        plan: the run's plan.
        facts: of the run.
        commit: the output's.
        counts: where rows were counted before they were written.
        apart: the quarantine's commit, if there is one.

    Raises:
        CommitError: there are more or fewer.

    """
    quarantined = counts.bad if plan.quarantine is not None and counts is not None else 0
    good = commit.rows_seen - (quarantined + facts.removed if commit.operation == "MERGE" else 0)
    bad = 0
    if apart is not None:
        others = facts.rows_in - quarantined + facts.removed
        bad = apart.rows_seen - (others if apart.operation == "MERGE" else 0)
    if good + bad == facts.rows_in and bad == quarantined:
        return
    text = plan.target.ref.text
    if plan.quarantine is None:
        raise CommitError.rows_differ(text, facts.rows_in, good, commit.version)
    raise CommitError.parts_differ(text, good, plan.quarantine.ref.text, bad, facts.rows_in)


def _is_all_bad(plan: JobPlan, counts: RowCounts) -> bool:
    """Whether a run has scored nothing; of a micro-batch, its limit alone decides."""
    return plan.increments is None and 0 < counts.rows == counts.bad


def _is_all_failed(plan: JobPlan, counts: RowCounts) -> bool:
    """Whether no row was scored, and not for its own faults alone: the model raised.

    A micro-batch may hold nothing but rows on which a model raises that has scored others.
    """
    if not counts.rows or counts.bad < counts.rows or (plan.increments is not None and plan.scoring.proven):
        return False
    return any(reason.feature is None for reason in counts.reasons)
