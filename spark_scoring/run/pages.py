"""The page of a run: what its table's history and its rows in the table tell, and the plan where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.history_errors import HistoryError
from spark_scoring.delta.ledger import kept_runs, read_commits
from spark_scoring.delta.names import resolve
from spark_scoring.delta.tables import read_version
from spark_scoring.drift.result import Drift
from spark_scoring.job_file import place_of
from spark_scoring.plan.outputs import BASE_SCORE, ERROR_COLUMN, METHODS
from spark_scoring.report.bad_rows import RowCounts, count_rows
from spark_scoring.report.page import ModelCard, RunPage, TrendPoint
from spark_scoring.report.predictions import describe_predictions
from spark_scoring.run.history import history_table, records_of
from spark_scoring.session import get_session
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.ledger import Commit, RunFacts
    from spark_scoring.delta.names import TableRef
    from spark_scoring.plan.scoring_plan import ScoringPlan
    from spark_scoring.report.predictions import Predictions
    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import JobPlan

_RUNS = 30
_NOT_SHOWN = {ERROR_COLUMN, BASE_SCORE}


def run_page(table: str, run_id: str | None = None, spark: SparkSession | None = None) -> RunPage:
    """The page of a run, from its table's history and its rows there; without the plan, which only a run itself has.

    Args:
        table: the output's name, or its path (with a slash).
        run_id: of the run; its first eight characters or more will do; default: the newest run.
        spark: the session; default: the active one, else a new local one.

    Raises:
        HistoryError: no such Delta table, or it has no such run.

    """
    spark = spark or get_session()
    ref = history_table(spark, table)
    commits = read_commits(spark, ref)
    return _page(spark, ref, commits, _found(ref, commits, run_id))


def page_of(plan: JobPlan, report: RunReport) -> RunPage:
    """The page of a run that was just made, with its plan. Runs a few jobs over the run's rows.

    Raises:
        HistoryError: the run is not in the output's history.

    """
    ref = plan.target.ref
    commits = read_commits(plan.session, ref)
    return _page(plan.session, ref, commits, _found(ref, commits, report.run_id), plan, report)


def _found(ref: TableRef, commits: Sequence[Commit], run_id: str | None) -> Commit:
    runs = {c.facts.run_id: c for c in commits if c.facts is not None}
    found = [c for own, c in runs.items() if run_id is None or own.startswith(run_id)]
    if run_id is None and found:
        return found[0]
    if len(found) != 1:
        raise HistoryError.no_run(ref.text, run_id or "", list(runs), ambiguous=bool(found))
    return found[0]


def _page(
    spark: SparkSession,
    ref: TableRef,
    commits: Sequence[Commit],
    commit: Commit,
    plan: JobPlan | None = None,
    report: RunReport | None = None,
) -> RunPage:
    facts = commit.facts
    assert facts is not None  # noqa: S101  of those that are looked among
    rows, notes = _rows(spark, ref, commit)
    before = _before(commits, commit)
    counts = _bad_rows(spark, facts, rows, None if plan is None else plan.scoring)
    record = next(r for r in records_of(commits) if r.run_id == facts.run_id)
    drift = report.drift if report is not None and report.drift is not None else Drift.of_ledger(facts.drift)
    bad = facts.quarantined if facts.quarantine else counts.bad
    return RunPage(
        run_id=facts.run_id,
        job=facts.job,
        output=ref.text,
        output_version=commit.version,
        mode=facts.mode,
        source=facts.source,
        source_state="" if facts.source_version is None else f"at version {facts.source_version}",
        where=facts.where,
        committed=record.committed,
        user=facts.user,
        model=_card(facts, plan),
        rows_in=facts.rows_in,
        rows_scored=facts.rows_in - bad,
        bad_rows=bad,
        quarantine=facts.quarantine,
        seconds=record.seconds,
        reasons=counts.reasons,
        predictions=_predictions(spark, ref, rows, before, facts),
        drift=drift,
        runs=tuple(
            TrendPoint(r.run_id, r.committed, r.model_version, r.rows_in, r.seconds, r.drift, r.rolled_back)
            for r in records_of(commits)[:_RUNS]
        ),
        notes=tuple(notes),
        plan=None if plan is None else plan.to_dict(),
        plan_html="" if plan is None else plan._repr_html_(),
    )


def _card(facts: RunFacts, plan: JobPlan | None) -> ModelCard:
    card = ModelCard(facts.model_uri, facts.model_name, facts.model_version, facts.model_digest)
    if plan is None:
        return card
    model, rehearsal = plan.scoring.model, plan.scoring.rehearsal
    told = None
    if rehearsal is not None and rehearsal.origin is not None:
        findings = "; ".join(finding.cause for finding in rehearsal.findings)
        told = f"on {rehearsal.rows} rows ({rehearsal.origin}){f': {findings}' if findings else ''}"
    differences = tuple(map(str, model.differences))
    return replace(card, flavor=model.flavor, differences=differences, rehearsal=told)


def _rows(spark: SparkSession, ref: TableRef, commit: Commit) -> tuple[DataFrame | None, list[str]]:
    """The run's rows in the version that it made; None where that is no longer there."""
    facts = commit.facts
    assert facts is not None  # noqa: S101
    try:
        rows = read_version(spark, ref, commit.version).where(F.col(quote(facts.run_column)) == facts.run_id)
        rows.count()  # of a file that is gone, reading it fails
    except Exception:  # noqa: BLE001  vacuumed files and truncated logs raise what the file system raises
        return None, ["the rows of this run are no longer there: its predictions and bad rows cannot be described"]
    return rows, []


def _before(commits: Sequence[Commit], commit: Commit) -> Commit | None:
    return next((c for c, _ in kept_runs(commits) if c.version < commit.version), None)


def _bad_rows(spark: SparkSession, facts: RunFacts, rows: DataFrame | None, plan: ScoringPlan | None) -> RowCounts:
    """The run's bad rows by reason, in its output or its quarantine."""
    error = facts.outputs.get(ERROR_COLUMN, ERROR_COLUMN)
    if facts.quarantine and facts.quarantined:
        try:
            apart = spark.table(resolve(spark, **place_of(facts.quarantine)).sql)
            rows = apart.where(F.col(quote(facts.run_column)) == facts.run_id)
        except Exception:  # noqa: BLE001  it may be gone
            rows = None
    if rows is None or error not in rows.columns:
        return RowCounts(0, 0, ())
    return count_rows(rows.where(F.col(quote(error)).isNotNull()), error, plan)


def _predictions(
    spark: SparkSession, ref: TableRef, rows: DataFrame | None, before: Commit | None, facts: RunFacts
) -> tuple[Predictions, ...]:
    if rows is None:
        return ()
    columns: dict[str, Any] = facts.outputs or {name: name for name in METHODS.values()}
    own_names = sorted(columns.keys() - _NOT_SHOWN, key=lambda own: (own != METHODS["predict"], own))
    columns = {own: columns[own] for own in own_names}
    earlier = None if before is None else _rows(spark, ref, before)[0]
    return describe_predictions(rows, earlier, columns)
