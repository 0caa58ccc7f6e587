"""The facts of a run: what the table's history keeps of it, and the report that is made of that."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, cast

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.ledger import Commit, RunFacts
from spark_scoring.delta.names import without_file_scheme
from spark_scoring.delta.tables import describe_table, read_version
from spark_scoring.drift.result import Drift
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.redact import redact
from spark_scoring.report.bad_rows import RowCounts, count_rows
from spark_scoring.report.run import MergeChanges, RunReport
from spark_scoring.run.plan import LINEAGE
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from spark_scoring.delta.formats import Files
    from spark_scoring.delta.names import TableRef
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.run.plan import Increments, JobPlan


def facts_of(plan: JobPlan, run_id: str, started: float) -> RunFacts:
    """What identifies the run; its rows are not counted yet."""
    model = plan.scoring.model
    # without brackets and alias, which are words of SQL itself where a session reserves them
    user = plan.session.sql("SELECT current_user").collect()[0][0]
    increments = plan.increments
    return RunFacts(
        run_id=run_id,
        idempotency_key=checkpoint_key(increments) if increments else _idempotency_key(plan),
        generation=1,
        job=plan.title,
        mode=plan.target.writing.mode,
        run_column=plan.added["run_id"],
        model_uri=model.uri,
        model_name=model.name,
        model_version=model.version,
        model_digest=model.digest,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_id=plan.source.table_id,
        source_version=plan.source.version,
        source_files=None if plan.source.files is None else asdict(plan.source.files),
        where=plan.source.where,
        rows_in=0,
        user=user,
        started=dt.datetime.fromtimestamp(started, tz=dt.timezone.utc).isoformat(),
        replace_where=plan.target.writing.replace_where,
        key=plan.target.writing.key,
        feature_tables={table.name: table.version for table in plan.feature_tables},
        read_tables={table.name: {"id": table.table_id, "version": table.version} for table in plan.identity.tables},
        stream=None if increments is None else increments.stream,
        batch=plan.batch,
        outputs={output.name: plan.added[output.name] for output in plan.scoring.outputs},
        lineage={name: plan.added[name] for name in LINEAGE},
    )


def checkpoint_key(increments: Increments) -> str:
    """Of a micro-batch: what it holds is decided by its number in this very checkpoint, and by nothing else.

    A lost one's numbers begin anew in its successor: Delta would pass over other rows that come under them.
    """
    decisive = [increments.stream, increments.checkpoint_id]
    return "spark_scoring-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _idempotency_key(plan: JobPlan) -> str:
    """sha256 over what decides a run's rows: equal for two runs that would write the same ones.

    Tables count by Delta's own id, however they are written; the output's is where the key is kept. Spark is asked
    what the job's expressions mean at this moment.
    """
    model, source, writing = plan.scoring.model, plan.source, plan.target.writing
    tables, meaning, is_unlike_others = plan.identity.decisive(plan.session)
    decisive = {
        "job": plan.name,
        "source": [source.table_id, source.data_version, source.where] if source.files is None else _of_files(source),
        "model": [model.name or model.uri, model.version],
        "plan": plan.scoring.hash,
        "client": plan.client is not None,
        "feature tables": [[table.table_id or table.name, table.version] for table in plan.feature_tables],
        "columns": [plan.keep, sorted(plan.names)],
        "output": [
            writing.mode,
            writing.replace_where,
            writing.key,
            plan.bad_rows == "quarantine",
        ],
        "read tables": tables,
        "meaning": meaning,
        "moment": uuid.uuid4().hex if is_unlike_others or any(t.version is None for t in plan.feature_tables) else None,
    }
    return "spark_scoring-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _of_files(source: PinnedSource) -> list[str | None]:
    return [source.ref.path or source.ref.sql.lower(), cast("Files", source.files).digest, source.where]


def report_of(plan: JobPlan, commit: Commit) -> RunReport:
    """The report of a run of this job by its commit; it does not tell how many values were filled."""
    facts = cast("RunFacts", commit.facts)
    place = plan.target.ref
    if plan.quarantine is not None and facts.quarantined:
        place = plan.quarantine.ref
    return report_on(plan, commit, facts, counts_in(plan, facts, place), ())


def earlier_report(plan: JobPlan, commit: Commit) -> RunReport:
    """The report of a run that was made before and whose rows are there."""
    return replace(report_of(plan, commit), skipped=True, seconds=0.0)


def counts_in(plan: JobPlan, facts: RunFacts, ref: TableRef, version: int | None = None) -> RowCounts:
    """The run's bad rows in a table, counted."""
    spark = plan.session
    table = spark.table(ref.sql) if version is None else read_version(spark, ref, version)
    bad = F.col(quote(plan.added[ERROR_COLUMN])).isNotNull()
    own = table.where((F.col(quote(facts.run_column)) == facts.run_id) & bad)
    return count_rows(own, plan.added[ERROR_COLUMN], plan.scoring)


def report_on(
    plan: JobPlan, commit: Commit, facts: RunFacts, counts: RowCounts, touched: tuple[tuple[str, int], ...]
) -> RunReport:
    """The report of a run with its commit and its counts."""
    ref = plan.target.ref
    return RunReport(
        run_id=facts.run_id,
        skipped=False,
        job=facts.job,
        model=plan.scoring.model.name or plan.scoring.model.uri,
        model_version=facts.model_version,
        plan_hash=facts.plan_hash,
        source=plan.source.ref.text,
        source_state=plan.source.state if facts.source_version is None else f"at version {facts.source_version}",
        source_version=facts.source_version,
        output=ref.text,
        output_version=commit.version,
        output_location=_location(plan),
        rows_in=facts.rows_in,
        rows_out=facts.rows_in - facts.quarantined,  # checked when it was made
        bad_rows=facts.quarantined if facts.quarantine else counts.bad,
        quarantine=facts.quarantine,
        quarantined=facts.quarantined,
        reasons=counts.reasons,
        changes=_changes(commit, facts),
        batches=0 if facts.batch is None else 1,
        touched=touched,
        scored_at=facts.started,
        seconds=commit.seconds or 0.0,
        drift=Drift.of_ledger(facts.drift),
    )


def report_of_nothing(plan: JobPlan) -> RunReport:
    """The report of an incremental job that has found nothing new yet."""
    model, ref = plan.scoring.model, plan.target.ref
    return RunReport(
        run_id=None,
        skipped=True,
        job=plan.title,
        model=model.name or model.uri,
        model_version=model.version,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_state=plan.source.state,
        source_version=plan.source.version,
        output=ref.text,
        output_version=None,
        output_location=_location(plan),
        rows_in=0,
        rows_out=0,
        bad_rows=0,
        quarantine=None,
        quarantined=0,
        reasons=(),
        changes=None,
        touched=(),
        scored_at=dt.datetime.now(tz=dt.timezone.utc).isoformat(),
        seconds=0.0,
    )


def _location(plan: JobPlan) -> str:
    """The output's folder; empty where only a catalog knows it and the table is not there yet."""
    path = plan.target.path  # asking Spark, right after a commit, makes it read the table's state anew
    if path is None:
        path = str((describe_table(plan.session, plan.target.ref) or {}).get("location") or "")
    return redact(without_file_scheme(path))


def _changes(commit: Commit, facts: RunFacts) -> MergeChanges | None:
    if commit.operation != "MERGE":
        return None
    inserted, updated = commit.metric("numTargetRowsInserted"), commit.metric("numTargetRowsUpdated")
    unchanged = facts.rows_in - facts.quarantined - inserted - updated
    return MergeChanges(inserted, updated, commit.metric("numTargetRowsDeleted"), unchanged)
