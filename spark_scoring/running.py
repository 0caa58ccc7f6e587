"""Carries out a planned job: count, score, check, commit, report."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

from pyspark.errors import PySparkException
from pyspark.sql import Observation
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import BadRowsError, CommitError, DuplicateKeyError, FeatureTableError
from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.ledger import Commit, RunFacts, find_commit
from spark_scoring.delta.names import without_file_scheme
from spark_scoring.delta.once import Standing, Written, standing, standing_apart, write_once
from spark_scoring.delta.sink import Rows, check_target, inspect_again
from spark_scoring.delta.source import check_as_planned, read_again
from spark_scoring.delta.stored import keys_as_stored
from spark_scoring.delta.tables import describe_table, is_delta, read_version
from spark_scoring.engine.errors import ManyBadRowsError, ModelFailedError, OutputError, TimeLimitError
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.progress import watch_tasks
from spark_scoring.engine.stage import score_frame
from spark_scoring.errors import Gathering, RunError
from spark_scoring.features.delegate import score_with_client
from spark_scoring.features.join import add_features, check_keys, schema_with_features
from spark_scoring.job_plan import LINEAGE, allowed_text
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.redact import redact
from spark_scoring.report.bad_rows import RowCounts, count_rows
from spark_scoring.report.run import MergeChanges, RunReport
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyspark.sql import Column, DataFrame, Row, SparkSession
    from pyspark.sql.types import StructType

    from spark_scoring.delta.formats import Files
    from spark_scoring.delta.names import TableRef
    from spark_scoring.delta.sink import ColumnChange, Target
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.job_plan import Increments, JobPlan
    from spark_scoring.plan.lookups import FeatureTable


_FEW_ROWS = 1_000
"""Up to so many rows, counting them before they are committed costs as much as counting them afterwards."""
_MOST_BAD = 0.5
"""The share of bad rows that a job allows if it does not say how many."""
_FEW_OF_BATCH = 100
"""So many rows of a micro-batch are not all bad by chance."""


def carry_out(plan: JobPlan, on_progress: Callable[[int, int], None] | None = None) -> RunReport:
    """Make a planned run, unless an equal one was made before and its rows are there.

    Raises:
        RunError: the run failed; nothing was committed, unless the text says so.
        TimeLimitError: it took longer than it may.

    """
    run_id, started = _new_run_id(plan), time.time()
    deadline = Deadline(plan.timeout, 0.0 if plan.increments is not None else plan.planned_in)
    try:
        with deadline.of_spark(_session(plan), run_id):
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
    facts = _facts(plan, run_id, started)
    before = standing(_session(plan), plan.target, facts, force=plan.force)
    if before.whole is not None:
        return _earlier_report(plan, before.whole)
    if plan.scoring.lookups is not None:
        check_keys(plan.source.frame, plan.scoring.lookups)
    facts = replace(facts, rows_in=_count_source(plan), removed=_count_removed(plan))
    begin = time.perf_counter()
    with watch_tasks(_session(plan), run_id, on_progress):
        outcome = _scored(plan, facts, started, before)
    seconds = time.perf_counter() - begin
    if outcome.written.is_earlier:
        return _earlier_report(plan, outcome.written.commit)
    _check_rows(plan, facts, outcome)
    commit, facts = outcome.written.commit, cast("RunFacts", outcome.written.commit.facts)
    counts = outcome.counts or _counts_in(plan, facts, plan.target.ref, commit.version)
    if outcome.counts is None:
        _check_committed(plan, facts, counts, commit)
    return _report(plan, commit, facts, counts, outcome.observed.counts(), seconds=seconds)


def preview_rows(plan: JobPlan, limit: int) -> list[Row]:
    """A few scored rows, with their kept columns, predictions and ``scoring_error``. Writes nothing.

    Args:
        plan: the job's plan.
        limit: rows at most; those that Spark finds first, and on another day others.

    Raises:
        RunError: the model or Spark failed.

    """
    few = replace(plan, source=replace(plan.source, frame=plan.source.frame.limit(limit)))
    try:
        frame = _written_frame(few, "", 0.0, _Observed("preview"))
        with Deadline(plan.timeout, plan.planned_in).of_spark(_session(plan), f"preview_{uuid.uuid4().hex}"):
            return frame.select(*[quote(name) for name in frame.columns[: -len(LINEAGE)]]).collect()
    except Exception as error:
        raise explain_failure(error, plan.target.ref.text, _read_text(plan)) from error


def check_output(plan: JobPlan, target: Target) -> tuple[ColumnChange, ...]:
    """How the columns of an output, or of its quarantine, change; refuse one that cannot take what the run writes.

    Raises:
        OutputError: with every reason.

    """
    is_apart = plan.quarantine is not None and target.ref == plan.quarantine.ref
    error = plan.added[ERROR_COLUMN]
    good = {error: True}
    bad = {**{plan.added[o.name]: True for o in plan.scoring.outputs}, error: False}
    kinds = [*([] if is_apart else [good]), *([bad] if is_apart or plan.bad_rows == "keep" else [])]
    problems = Gathering()
    changes: tuple[ColumnChange, ...] = ()
    with problems.attempt():
        changes = check_target(target, plan.source, _schema_frame(plan), kinds, plan.added["run_id"])
    own = set(plan.source.frame.columns)
    made = {name.lower() for name in (*plan.added.values(), *(kept for kept in plan.keep if kept not in own))}
    for name in target.writing.key:
        with problems.attempt():
            if name.lower() in made:  # rows per key are counted before they are scored
                raise OutputError.key_of_run(name)
    problems.raise_all(OutputError)
    return changes


@dataclass(frozen=True)
class _Outcome:
    """What a run has written."""

    written: Written
    observed: _Observed
    counts: RowCounts | None = None
    """Where rows were counted before they were written."""
    apart: Commit | None = None
    """Of the quarantine; None where no bad row went there."""


def _scored(plan: JobPlan, facts: RunFacts, started: float, before: Standing) -> _Outcome:
    """Score and write, in one pass if no task finds too many bad rows; else count the bad rows of all tasks first."""
    if _counts_first(plan, facts.rows_in):
        return _write_counted(plan, facts, started, before)
    observed = _Observed(facts.run_id)
    frame = _written_frame(plan, facts.run_id, started, observed, most_bad=_limit(plan, facts.rows_in))
    try:
        return _Outcome(_write(plan, _rows(plan, frame), facts, before), observed)
    except Exception as error:
        if not isinstance(explain_failure(error, plan.target.ref.text, _read_text(plan)), ManyBadRowsError):
            raise
    return _write_counted(plan, facts, started, before)


def _count_source(plan: JobPlan) -> int:
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


def _count_removed(plan: JobPlan) -> int:
    """Keys of a micro-batch whose rows are gone."""
    return 0 if plan.source.removed is None else plan.source.removed.count()


def _new_run_id(plan: JobPlan) -> str:
    """A micro-batch's ends with its stream's key: by it all rows of the stream are found, however old they are."""
    own = uuid.uuid4().hex
    return own if plan.increments is None else f"{own}-{plan.increments.stream}"


def _counts_first(plan: JobPlan, rows: int) -> bool:
    """Whether rows are scored and counted before any is committed.

    A merge does so to be short: what other writers do while it scores does not get in its way. So do few rows: if the
    model fails on all of them, nothing is to be committed. So do rows that a feature client scores: our workers do not
    see them. So do those of a source that may give others when it is read again. All four can do without where the
    compute keeps no rows; Delta then keeps them for the time of the merge.
    """
    if _must_hold(plan):
        return True
    merges = plan.target.writing.mode == "merge" and plan.target.schema is not None
    is_asked = merges or rows <= _FEW_ROWS or plan.client is not None or not plan.source.is_fixed
    return is_asked and _can_hold(_session(plan))


def _must_hold(plan: JobPlan) -> bool:
    """Whether the job asks for what cannot be done without keeping its rows."""
    return plan.quarantine is not None or plan.max_bad_rows is not None


def _judged_here(plan: JobPlan, rows: int) -> JobPlan:
    """The plan, whose workers do not judge by the few rows that each of them sees whether the model fails on all."""
    is_judged = plan.client is None and rows <= _FEW_ROWS
    return replace(plan, scoring=replace(plan.scoring, proven=True)) if is_judged else plan


def _limit(plan: JobPlan, rows: int) -> float | None:
    """Bad rows, or a share of the rows if it is a float, above which nothing is committed; None for as many as come.

    A micro-batch of few rows may hold nothing but bad ones: only what the job says is its limit.
    """
    if plan.max_bad_rows is not None:
        return plan.max_bad_rows
    return None if plan.increments is not None and rows < _FEW_OF_BATCH else _MOST_BAD


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


def _can_hold(spark: SparkSession) -> bool:
    try:
        spark.range(1).persist().unpersist()
    except PySparkException:  # serverless compute
        return False
    return True


def _rows(plan: JobPlan, frame: DataFrame, *, belonging: str | None = None) -> Rows:
    stamps = (plan.added["scored_at"], plan.added["run_id"])
    return Rows(frame, belonging, plan.added[ERROR_COLUMN], stamps, plan.source.removed)


def _write_counted(plan: JobPlan, facts: RunFacts, started: float, before: Standing) -> _Outcome:
    """Score once, count, then write: bad rows first, where they go apart, so that the output's commit is the run's.

    A run that dies between the two leaves bad rows that the next one replaces.
    """
    error = quote(plan.added[ERROR_COLUMN])
    observed = _Observed(f"{facts.run_id}_counted")
    with _held(plan, _written_frame(_judged_here(plan, facts.rows_in), facts.run_id, started, observed)) as scored:
        counts = count_rows(scored, plan.added[ERROR_COLUMN], plan.scoring)
        _check_counts(plan, facts, counts)
        plan = _at_present(plan)  # others may have changed the tables meanwhile
        if plan.quarantine is None:
            return _Outcome(_write(plan, _rows(plan, scored), facts, before), observed, counts)
        facts = replace(facts, quarantine=plan.quarantine.ref.text, quarantined=counts.bad)
        bad = _rows(plan, scored, belonging=f"{error} IS NOT NULL")
        good = _rows(plan, scored, belonging=f"{error} IS NULL")
        apart = _write_apart(plan, plan.quarantine, bad, facts)
        return _Outcome(_write(plan, good, facts, before), observed, counts, apart)


@contextmanager
def _held(plan: JobPlan, frame: DataFrame) -> Iterator[DataFrame]:
    """The frame's rows kept on the executors, so that several jobs read them and none is scored twice.

    Where the compute keeps no rows, a run that only has to be counted first is scored twice.
    """
    if not _must_hold(plan) and not _can_hold(frame.sparkSession):
        yield frame
        return
    held = frame.persist()
    try:
        yield held
    finally:
        held.unpersist()


def _write(plan: JobPlan, rows: Rows, facts: RunFacts, before: Standing) -> Written:
    def look(target: Target, whole_history: bool) -> Standing:  # noqa: FBT001
        return standing(_session(plan), target, facts, force=plan.force, whole_history=whole_history)

    return write_once(rows, plan.target, facts, before, refresh=lambda: _now(plan, plan.target), look=look)


def _write_apart(plan: JobPlan, quarantine: Target, bad: Rows, facts: RunFacts) -> Commit | None:
    """Write the bad rows to the quarantine; None where there is none and none of an earlier run to replace."""

    def look(target: Target, whole_history: bool) -> Standing:  # noqa: FBT001
        return standing_apart(_session(plan), target, plan.target, facts, force=plan.force, whole_history=whole_history)

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
    seen = {name: inspect_again(_session(plan), table) for name, table in tables.items() if table is not None}
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
    target = inspect_again(_session(plan), target)
    check_output(plan, target)
    return target


def _check_counts(plan: JobPlan, facts: RunFacts, counts: RowCounts) -> None:
    """Before anything is committed."""
    if counts.rows != facts.rows_in:
        raise CommitError.counted(plan.target.ref.text, facts.rows_in, counts.rows)
    if _is_all_failed(plan, counts):
        reason = next(r.text for r in counts.reasons if r.feature is None)
        raise ModelFailedError.uncommitted(reason.partition(": ")[2], counts.rows)
    reasons = [(reason.text, reason.rows) for reason in counts.reasons]
    if _is_all_bad(plan, counts):
        raise BadRowsError.all_of_them(counts.rows, reasons)
    limit = _limit(plan, counts.rows)
    if limit is not None and counts.bad > (limit * counts.rows if isinstance(limit, float) else limit):
        raise BadRowsError.too_many(counts.bad, counts.rows, allowed_text(limit), reasons)


def _check_committed(plan: JobPlan, facts: RunFacts, counts: RowCounts, commit: Commit) -> None:
    """Where rows could not be counted before."""
    if _is_all_failed(plan, counts):
        raise ModelFailedError.committed(facts.rows_in, plan.target.ref.text, commit.version)


def _check_rows(plan: JobPlan, facts: RunFacts, outcome: _Outcome) -> None:
    """Rows in are rows out and quarantined, by Delta's own counts; a merge is given all rows and the removed keys."""
    commit, apart = outcome.written.commit, outcome.apart
    quarantined = outcome.counts.bad if plan.quarantine is not None and outcome.counts is not None else 0
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


def _explained(plan: JobPlan, run_id: str, error: Exception) -> Exception:
    """What a failed run is told: what went wrong, and what it has committed all the same."""
    if isinstance(error, FeatureTableError):  # found before the first row was scored
        return error
    explained = explain_failure(error, plan.target.ref.text, _read_text(plan))
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


def _read_text(plan: JobPlan) -> str:
    """The tables that a run reads."""
    looked_up = ", ".join(table.name for table in _feature_tables(plan))
    return f"{plan.source.ref.text} (or a feature table: {looked_up})" if looked_up else plan.source.ref.text


def _found(plan: JobPlan, target: Target, run_id: str) -> Commit | None:
    """The commit of a run that raised, if it had got that far: looked for where the rows are written."""
    ref, path = target.ref, target.path
    written = ref if path is None else replace(ref, sql=f"delta.{quote(path)}", path=path)
    return find_commit(_session(plan), written, run_id) if is_delta(_session(plan), written) else None


class _Observed:
    """Counts of the values that the policy replaced, made while the rows pass."""

    def __init__(self, run_id: str) -> None:
        self._observation = Observation(f"spark_scoring_{run_id}")
        self._names: list[str] = []

    def watch(self, df: DataFrame, touched: Mapping[str, Column]) -> DataFrame:
        self._names = list(touched)
        if not touched:
            return df
        counts = [F.count(F.when(c, F.lit(1))).alias(f"c{i}") for i, c in enumerate(touched.values())]
        return df.observe(self._observation, *counts)

    def counts(self) -> tuple[tuple[str, int], ...]:
        """After the commit was found: before, asking would block for ever."""
        if not self._names:
            return ()
        found = self._observation.get
        return tuple((name, int(n)) for i, name in enumerate(self._names) if (n := found.get(f"c{i}")))


def _written_frame(
    plan: JobPlan, run_id: str, started: float, observed: _Observed, *, most_bad: float | None = None
) -> DataFrame:
    """The columns that the run writes: kept, predicted, lineage."""
    frame, lookups, names = plan.source.frame, plan.scoring.lookups, dict(plan.names)
    if plan.client is not None:
        scored = score_with_client(frame, plan.scoring, plan.client, keep=plan.keep, names=names)
    else:
        scored = score_frame(
            frame if lookups is None else add_features(frame, lookups, checked=True),
            plan.scoring,
            stage=plan.stage,
            keep=plan.keep,
            names=names,
            observe=observed.watch,
            show_model_error=plan.show_model_error,
            most_bad=most_bad,
        )
    if plan.bad_rows == "fail":
        scored = _failing(scored, plan.added[ERROR_COLUMN])
    return scored.select("*", *_lineage(plan, run_id, started))


def _failing(scored: DataFrame, error_column: str) -> DataFrame:
    """The frame, which fails in a bad row."""
    error = quote(error_column)
    message = f"concat('spark_scoring: a row cannot be scored (', {error}, '), and bad_rows is fail')"
    guard = F.expr(f"CASE WHEN {error} IS NOT NULL THEN raise_error({message}) END").cast("string")
    return scored.withColumn(error_column, guard)


def written_schema(plan: JobPlan) -> StructType:
    """The columns that the run writes. Runs no job."""
    return _schema_frame(plan).schema


def _schema_frame(plan: JobPlan) -> DataFrame:
    """The columns of ``_written_frame`` without a model: planning ships nothing to the workers."""
    kept = [F.col(quote(name)) for name in plan.keep]
    outputs = [F.lit(None).cast(o.type).alias(plan.added[o.name]) for o in plan.scoring.outputs]
    frame, lookups = plan.source.frame, plan.scoring.lookups
    if lookups is not None:
        frame = _session(plan).createDataFrame([], schema_with_features(frame, lookups))
    return frame.select(*kept, *outputs, *_lineage(plan, "", 0.0))


def _lineage(plan: JobPlan, run_id: str, started: float) -> list[Column]:
    """Which model made a row, when and in which run."""
    model = plan.scoring.model
    lineage = {
        "model_name": F.lit(model.name or model.uri),
        "model_version": F.lit(model.version).cast("string"),
        "scored_at": F.timestamp_micros(F.lit(int(started * 1e6))),
        "run_id": F.lit(run_id),
    }
    return [column.alias(plan.added[name]) for name, column in lineage.items()]


def _facts(plan: JobPlan, run_id: str, started: float) -> RunFacts:
    """What identifies the run; its rows are not counted yet."""
    model = plan.scoring.model
    # without brackets and alias, which are words of SQL itself where a session reserves them
    user = _session(plan).sql("SELECT current_user").collect()[0][0]
    increments = plan.increments
    return RunFacts(
        run_id=run_id,
        idempotency_key=_checkpoint_key(increments) if increments else _idempotency_key(plan),
        generation=1,
        job=_job_text(plan),
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
        feature_tables={table.name: table.version for table in _feature_tables(plan)},
        read_tables={table.name: {"id": table.table_id, "version": table.version} for table in plan.identity.tables},
        stream=None if increments is None else increments.stream,
        batch=plan.batch,
    )


def _checkpoint_key(increments: Increments) -> str:
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
    tables, meaning, is_unlike_others = plan.identity.decisive(_session(plan))
    decisive = {
        "job": plan.name,
        "source": [source.table_id, source.version, source.where] if source.files is None else _of_files(source),
        "model": [model.name or model.uri, model.version],
        "plan": plan.scoring.hash,
        "client": plan.client is not None,
        "feature tables": [[table.table_id or table.name, table.version] for table in _feature_tables(plan)],
        "columns": [plan.keep, sorted(plan.names)],
        "output": [
            writing.mode,
            writing.replace_where,
            writing.key,
            plan.bad_rows == "quarantine",
        ],
        "read tables": tables,
        "meaning": meaning,
        "moment": uuid.uuid4().hex
        if is_unlike_others or any(t.version is None for t in _feature_tables(plan))
        else None,
    }
    return "spark_scoring-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _of_files(source: PinnedSource) -> list[str | None]:
    return [source.ref.path or source.ref.sql.lower(), cast("Files", source.files).digest, source.where]


def _feature_tables(plan: JobPlan) -> Sequence[FeatureTable]:
    return () if plan.scoring.lookups is None else plan.scoring.lookups.tables


def report_of(plan: JobPlan, commit: Commit) -> RunReport:
    """The report of a run of this job by its commit; it does not tell how many values were filled."""
    facts = cast("RunFacts", commit.facts)
    place = plan.target.ref
    if plan.quarantine is not None and facts.quarantined:
        place = plan.quarantine.ref
    seconds = commit.committed - dt.datetime.fromisoformat(facts.started).timestamp()
    return _report(plan, commit, facts, _counts_in(plan, facts, place), (), seconds=seconds)


def _earlier_report(plan: JobPlan, commit: Commit) -> RunReport:
    """The report of a run that was made before and whose rows are there."""
    return replace(report_of(plan, commit), skipped=True, seconds=0.0)


def _counts_in(plan: JobPlan, facts: RunFacts, ref: TableRef, version: int | None = None) -> RowCounts:
    """The run's bad rows in a table, counted."""
    spark = _session(plan)
    table = spark.table(ref.sql) if version is None else read_version(spark, ref, version)
    bad = F.col(quote(plan.added[ERROR_COLUMN])).isNotNull()
    own = table.where((F.col(quote(facts.run_column)) == facts.run_id) & bad)
    return count_rows(own, plan.added[ERROR_COLUMN], plan.scoring)


def _report(
    plan: JobPlan,
    commit: Commit,
    facts: RunFacts,
    counts: RowCounts,
    touched: tuple[tuple[str, int], ...],
    *,
    seconds: float,
) -> RunReport:
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
        seconds=seconds,
    )


def report_of_nothing(plan: JobPlan) -> RunReport:
    """The report of an incremental job that has found nothing new yet."""
    model, ref = plan.scoring.model, plan.target.ref
    return RunReport(
        run_id=None,
        skipped=True,
        job=_job_text(plan),
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
        path = str((describe_table(_session(plan), plan.target.ref) or {}).get("location") or "")
    return redact(without_file_scheme(path))


def _job_text(plan: JobPlan) -> str:
    model = plan.scoring.model
    return plan.name or f"{model.name or model.uri} on {plan.source.ref.text}"


def _changes(commit: Commit, facts: RunFacts) -> MergeChanges | None:
    if commit.operation != "MERGE":
        return None
    inserted, updated = commit.metric("numTargetRowsInserted"), commit.metric("numTargetRowsUpdated")
    unchanged = facts.rows_in - facts.quarantined - inserted - updated
    return MergeChanges(inserted, updated, commit.metric("numTargetRowsDeleted"), unchanged)


def _session(plan: JobPlan) -> SparkSession:
    return plan.source.frame.sparkSession
