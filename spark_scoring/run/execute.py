"""Carries out a planned job: count, score, check, commit, report."""

from __future__ import annotations

import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from spark_scoring.delta.errors import CommitError
from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.ledger import Commit, RunFacts, find_commit
from spark_scoring.delta.once import Standing, Written, standing, standing_apart, write_once
from spark_scoring.delta.sink import Rows
from spark_scoring.delta.source import check_as_planned, read_again
from spark_scoring.delta.tables import is_delta
from spark_scoring.delta.target import inspect_again
from spark_scoring.engine.errors import ManyBadRowsError, TimeLimitError
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.progress import watch_rows
from spark_scoring.errors import RunError
from spark_scoring.features.join import check_keys
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.report.bad_rows import RowCounts, count_rows
from spark_scoring.run.accounting import (
    check_committed,
    check_counts,
    check_output_keys,
    check_rows,
    count_removed,
    count_source,
    most_bad,
)
from spark_scoring.run.drift import check_drift, drift_of_plan
from spark_scoring.run.facts import counts_in, earlier_report, facts_of, report_on
from spark_scoring.run.frames import Observed, check_output, written_frame
from spark_scoring.run.held import can_hold, held
from spark_scoring.run.plan import read_text
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

    from spark_scoring.delta.target import Target
    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import JobPlan

_FEW_ROWS = 1_000
"""Up to so many rows, counting them before they are committed costs as much as counting them afterwards."""


def carry_out(plan: JobPlan, on_progress: Callable[[int, int], None] | None = None) -> RunReport:
    """Make a planned run, unless an equal one was made before and its rows are there.

    Raises:
        RunError: the run failed; nothing was committed, unless the text says so.
        TimeLimitError: it took longer than it may.

    """
    run_id, started = _new_run_id(plan), time.time()
    deadline = Deadline(plan.timeout, 0.0 if plan.increments is not None else plan.planned_in)
    try:
        with deadline.of_spark(plan.session, run_id):
            return _carried_out(plan, run_id, started, on_progress)
    except Exception as error:
        explained = _explained(plan, run_id, error)
        if explained is error:
            raise
        raise explained from error


def _carried_out(
    plan: JobPlan, run_id: str, started: float, on_progress: Callable[[int, int], None] | None
) -> RunReport:
    plan = _understood_now(_at_present(plan))
    check_as_planned(plan.source)
    facts = facts_of(plan, run_id, started)
    before = standing(plan.session, plan.target, facts, force=plan.force)
    if before.whole is not None:
        return earlier_report(plan, before.whole)
    if not before.is_keyed:
        check_output_keys(plan)
    if plan.scoring.lookups is not None:
        check_keys(plan.source.frame, plan.scoring.lookups)
    facts = replace(facts, rows_in=count_source(plan), removed=count_removed(plan))
    drift = drift_of_plan(plan)
    if drift is not None:
        check_drift(plan, drift)
        facts = replace(facts, drift=drift.for_ledger())
    with watch_rows(plan.session, run_id, facts.rows_in, on_progress):
        outcome = _scored(plan, facts, started, before)
    if outcome.written.is_earlier:
        return earlier_report(plan, outcome.written.commit)
    commit = outcome.written.commit
    check_rows(plan, facts, commit, outcome.counts, outcome.apart)
    facts = cast("RunFacts", commit.facts)
    counts = outcome.counts or counts_in(plan, facts, plan.target.ref, commit.version)
    if outcome.counts is None:
        check_committed(plan, facts, counts, commit)
    report = report_on(plan, commit, facts, counts, outcome.observed.counts())
    return replace(report, drift=drift)


@dataclass(frozen=True)
class _Outcome:
    """What a run has written."""

    written: Written
    observed: Observed
    counts: RowCounts | None = None
    """Where rows were counted before they were written."""
    apart: Commit | None = None
    """Of the quarantine; None where no bad row went there."""


def _scored(plan: JobPlan, facts: RunFacts, started: float, before: Standing) -> _Outcome:
    """Score and write, in one pass if no task finds too many bad rows; else count the bad rows of all tasks first."""
    if _counts_first(plan, facts.rows_in):
        return _write_counted(plan, facts, started, before)
    observed = Observed(facts.run_id)
    frame = written_frame(plan, facts.run_id, started, observed, most_bad=most_bad(plan, facts.rows_in))
    try:
        return _Outcome(_write(plan, _rows(plan, frame), facts, before), observed)
    except Exception as error:
        if not isinstance(explain_failure(error, plan.target.ref.text, read_text(plan)), ManyBadRowsError):
            raise
    return _write_counted(plan, facts, started, before)


def _new_run_id(plan: JobPlan) -> str:
    """A micro-batch's ends with its stream's key: by it all rows of the stream are found, however old they are."""
    own = uuid.uuid4().hex
    return own if plan.increments is None else f"{own}-{plan.increments.stream}"


def _counts_first(plan: JobPlan, rows: int) -> bool:
    """Whether rows are scored and counted before any is committed.

    A merge does so to be short: what other writers do while it scores does not get in its way. So do few rows: if the
    model fails on all of them, nothing is to be committed. So do rows that a feature client scores: our workers do not
    see them. So do those of a source that may give others when it is read again. All four can do without where the
    compute keeps no rows; Delta then keeps them for the time of the merge. Spark's own expressions are always counted
    first: no worker could stop the run.
    """
    if _must_hold(plan) or plan.scoring.engine == "native":
        return True
    merges = plan.target.writing.mode == "merge" and plan.target.schema is not None
    is_asked = merges or rows <= _FEW_ROWS or plan.client is not None or not plan.source.is_fixed
    return is_asked and can_hold(plan.session)


def _must_hold(plan: JobPlan) -> bool:
    """Whether the job asks for what cannot be done without keeping its rows."""
    return plan.quarantine is not None or plan.max_bad_rows is not None


def _judged_here(plan: JobPlan, rows: int) -> JobPlan:
    """The plan, whose workers do not judge by the few rows that each of them sees whether the model fails on all."""
    is_judged = plan.client is None and rows <= _FEW_ROWS
    return replace(plan, scoring=replace(plan.scoring, proven=True)) if is_judged else plan


def _is_cheap_to_score(plan: JobPlan, frame: DataFrame) -> bool:
    """Whether scoring the rows twice costs less than keeping them: expressions score, and more is kept than read.

    Both times they must be the same rows.
    """
    is_same = plan.source.is_fixed and not plan.identity.causes
    if plan.scoring.engine != "native" or _must_hold(plan) or not is_same:
        return False
    return len(frame.columns) > len(plan.scoring.features)


def _rows(plan: JobPlan, frame: DataFrame, *, belonging: str | None = None) -> Rows:
    stamps = (plan.added["scored_at"], plan.added["run_id"])
    return Rows(frame, belonging, plan.added[ERROR_COLUMN], stamps, plan.source.removed)


def _write_counted(plan: JobPlan, facts: RunFacts, started: float, before: Standing) -> _Outcome:
    """Score once, count, then write: bad rows first, where they go apart, so that the output's commit is the run's.

    A run that dies between the two leaves bad rows that the next one replaces.
    """
    error = quote(plan.added[ERROR_COLUMN])
    observed = Observed(f"{facts.run_id}_counted")
    frame = written_frame(_judged_here(plan, facts.rows_in), facts.run_id, started, observed)
    with nullcontext(frame) if _is_cheap_to_score(plan, frame) else held(frame, must=_must_hold(plan)) as scored:
        counts = count_rows(scored, plan.added[ERROR_COLUMN], plan.scoring)
        check_counts(plan, facts, counts)
        facts = replace(facts, bad=counts.bad)
        plan = _at_present(plan)  # others may have changed the tables meanwhile
        if plan.quarantine is None:
            return _Outcome(_write(plan, _rows(plan, scored), facts, before), observed, counts)
        facts = replace(facts, quarantine=plan.quarantine.ref.text, quarantined=counts.bad)
        bad = _rows(plan, scored, belonging=f"{error} IS NOT NULL")
        good = _rows(plan, scored, belonging=f"{error} IS NULL")
        apart = _write_apart(plan, plan.quarantine, bad, facts)
        return _Outcome(_write(plan, good, facts, before), observed, counts, apart)


def _write(plan: JobPlan, rows: Rows, facts: RunFacts, before: Standing) -> Written:
    def look(target: Target, whole_history: bool) -> Standing:  # noqa: FBT001
        return standing(plan.session, target, facts, force=plan.force, whole_history=whole_history)

    return write_once(rows, plan.target, facts, before, refresh=lambda: _now(plan, plan.target), look=look)


def _write_apart(plan: JobPlan, quarantine: Target, bad: Rows, facts: RunFacts) -> Commit | None:
    """Write the bad rows to the quarantine; None where there is none and none of an earlier run to replace."""

    def look(target: Target, whole_history: bool) -> Standing:  # noqa: FBT001
        return standing_apart(plan.session, target, plan.target, facts, force=plan.force, whole_history=whole_history)

    before = look(quarantine, False)  # noqa: FBT003
    if not facts.quarantined and (
        quarantine.schema is None or (quarantine.writing.mode == "append" and not before.remains)
    ):
        return None
    facts = replace(facts, part="quarantine")
    return write_once(bad, quarantine, facts, before, refresh=lambda: _now(plan, quarantine), look=look).commit


def _at_present(plan: JobPlan) -> JobPlan:
    """The plan on its tables as they are now: it may have been made a while ago."""
    tables = {"target": plan.target, "quarantine": plan.quarantine}
    seen = {name: inspect_again(plan.session, table) for name, table in tables.items() if table is not None}
    for name, table in seen.items():
        if table != tables[name]:
            check_output(plan, table)
    return replace(plan, target=seen["target"], quarantine=seen.get("quarantine"))


def _understood_now(plan: JobPlan) -> JobPlan:
    """The plan, whose filter has the session's variables and functions as they are now, as its other expressions do."""
    if plan.increments is not None or not plan.identity.question.is_any:
        return plan
    return replace(plan, source=read_again(plan.source))


def _now(plan: JobPlan, target: Target) -> Target:
    """A table as other writers have left it, if it still takes what the run writes."""
    target = inspect_again(plan.session, target)
    check_output(plan, target)
    return target


def _explained(plan: JobPlan, run_id: str, error: Exception) -> Exception:
    """What a failed run is told: what went wrong, and what it has committed all the same."""
    if isinstance(error, FeatureTableError):  # found before the first row was scored
        return error
    explained = explain_failure(error, plan.target.ref.text, read_text(plan))
    try:
        if committed := _found(plan, plan.target, run_id):
            if isinstance(error, RunError) and not isinstance(error, TimeLimitError):  # it says so itself
                return error
            return CommitError.after_commit(plan.target.ref.text, committed.version, type(error).__name__)
        if plan.quarantine is not None and (committed := _found(plan, plan.quarantine, run_id)):
            return CommitError.quarantined_only(explained.problems, plan.quarantine.ref.text, committed.version)
    except Exception as unseen:  # noqa: BLE001  the run's own error is what counts
        return CommitError.unseen(explained.problems, plan.target.ref.text, type(unseen).__name__)
    return explained


def _found(plan: JobPlan, target: Target, run_id: str) -> Commit | None:
    """The commit of a run that raised, if it had got that far: looked for where the rows are written."""
    ref, path = target.ref, target.path
    written = ref if path is None else replace(ref, sql=f"delta.{quote(path)}", path=path)
    return find_commit(plan.session, written, run_id) if is_delta(plan.session, written) else None
