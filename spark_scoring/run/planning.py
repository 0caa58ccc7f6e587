"""Plan a job: model, source and output meet, and whatever is wrong between them is told at once."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.arguments import job_of
from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.names import QUARANTINE, new_schema, with_suffix
from spark_scoring.delta.source import PinnedSource, pin_filter_again, pin_source
from spark_scoring.delta.target import Target, Writing, inspect_target
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.stage import check_kept
from spark_scoring.errors import Gathering, Problem, RequestError
from spark_scoring.features.delegate import Delegation, check_delegation
from spark_scoring.plan.scoring_plan import ScoringPlan, with_notes
from spark_scoring.run.columns import check_names, kept_columns, renamed
from spark_scoring.run.frames import check_output, written_schema
from spark_scoring.run.identity import Identity, find_identity
from spark_scoring.run.increments import note_on_model, plan_increments
from spark_scoring.run.model_plan import frame_for, model_of, pinned_model, plan_model
from spark_scoring.run.plan import LINEAGE, JobPlan
from spark_scoring.run.saved import SavedPlan, read_saved
from spark_scoring.session import get_session, launch_early, unheeded
from spark_scoring.spark_settings import decides

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

    from spark_scoring.delta.pinning import PinnedSql
    from spark_scoring.job import ScoringJob
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.parameters import Value
    from spark_scoring.plan.lookups import LookupPlan

_NAMINGS = {"spark_scoring": {}, "databricks": {"model_version": "model_id", "scored_at": "timestamp"}}


def plan_job(
    job: ScoringJob | SavedPlan | Mapping[str, Any] | str | Path,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
) -> JobPlan:
    """Plan a job: pin its model and source, check its output. Reads no row of the source, writes nothing.

    Args:
        job: the job, a mapping of its fields, the path of its YAML file, or of a plan that was saved as JSON.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.

    Raises:
        RequestError: with every problem of model, source, plan and output that can be known at once; or, of a saved
            plan, with all that is another one than it has pinned.
        TimeLimitError: the model, or Spark, took longer than the job's timeout.

    """
    saved = read_saved(job) if isinstance(job, str | Path) else job if isinstance(job, SavedPlan) else None
    if saved is not None and params:
        raise RequestError.params_of_a_file()
    job = job_of(job, spark, params) if saved is None else saved.job
    deadline = Deadline(job.seconds)
    if spark is None:
        launch_early(job.warehouse, settings=job.spark)
    problems = Gathering()
    spec = None
    with problems.attempt():
        spec = deadline.of_model(partial(model_of, job))
    spark = spark or get_session(job.warehouse, job.spark)
    with deadline.of_spark(spark, f"plan_{uuid.uuid4().hex}"):
        plan = _planned(job, spark, spec, problems, deadline)
    plan = replace(plan, planned_in=deadline.spent)
    if saved is not None:
        saved.check(plan.pins)
    return plan


def plan_beside(job: ScoringJob, spark: SparkSession, scoring: ScoringPlan) -> JobPlan:
    """The plan of a job in another process than the one that has planned it: the model is that of the earlier plan.

    Nothing is asked of MLflow, and no file of the model is needed: its copy has been sent to the session's executors.
    """
    return _planned(job, spark, scoring.model, Gathering(), Deadline(job.seconds), before=scoring)


def _planned(
    job: ScoringJob,
    spark: SparkSession,
    spec: ModelSpec | None,
    problems: Gathering,
    deadline: Deadline,
    *,
    before: ScoringPlan | None = None,
) -> JobPlan:
    """The plan of a job with its model, which is None where it has a problem."""
    source = target = quarantine = None
    with problems.attempt():
        unheeded(spark, job.spark)
    with problems.attempt():
        source = pin_source(spark, **job.source.model_dump())
    with problems.attempt():
        place = {"table": job.output.table, "path": job.output.path}
        writing = Writing(job.output.mode, job.output.replace_where, job.output.key, job.output.evolve)
        target = inspect_target(spark, writing, **place)
        if job.bad_rows == "quarantine":
            quarantine = inspect_target(spark, writing, **with_suffix(QUARANTINE, **place))
    if source is None or target is None or spec is None or problems.problems:
        raise RequestError(problems.problems)
    plan = _plan_between(job, source, target, quarantine, spec, deadline, before=before)
    increments = plan_increments(plan)
    if increments is None or before is not None:  # a plan beside another one is shown to nobody
        return replace(plan, increments=increments)
    note = note_on_model(plan, increments)
    return replace(plan, increments=increments, scoring=with_notes(plan.scoring, [note] if note else []))


def at_present(plan: JobPlan, *, model_too: bool) -> JobPlan:
    """The plan of an incremental job, on the tables it looks into as they are now and, if so asked, the model."""
    spec = plan.scoring.model
    if plan.increments is None:
        return plan
    deadline = Deadline(plan.timeout)
    if model_too:
        model = pinned_model(plan.job)
        if (model.name, model.version, model.digest) != (spec.name, spec.version, spec.digest):
            spec = deadline.of_model(partial(model_of, plan.job, model))
    if spec is plan.scoring.model and plan.scoring.lookups is None and not plan.identity.tables:
        return plan
    before = plan.scoring if spec is plan.scoring.model else None
    source = pin_filter_again(plan.source)
    fresh = _plan_between(plan.job, source, plan.target, plan.quarantine, spec, deadline, before=before)
    return replace(fresh, increments=plan.increments)


def _plan_between(
    job: ScoringJob,
    source: PinnedSource,
    target: Target,
    quarantine: Target | None,
    spec: ModelSpec,
    deadline: Deadline,
    *,
    before: ScoringPlan | None = None,
) -> JobPlan:
    """The plan over parts that were found; what is wrong between them comes at once.

    ``before`` is an earlier plan of the job with the same model, whose rehearsal holds.
    """
    problems = Gathering()
    keep = None
    frame, lookups = frame_for(source.frame, spec)
    with problems.attempt():
        keep = kept_columns(frame, _default_keep(job, source, target) if job.output.keep is None else job.output.keep)
    scoring, written = plan_model(job, spec, frame, lookups, deadline, problems, before=before)
    if keep is None or scoring is None or problems.problems:
        raise RequestError([*problems.problems, *_hints(source)])
    plan = JobPlan(
        scoring=with_notes(scoring, _notes(frame.sparkSession, job, source, target, lookups)),
        source=source,
        target=target,
        quarantine=quarantine,
        keep=keep,
        names=tuple({**_NAMINGS[job.output.naming], **job.output.names}.items()),
        stage=job.stage,
        job=job,
        client=Delegation(job.tracking_uri, job.registry_uri) if job.engine == "databricks" else None,
        name=job.name,
        force=job.force,
        bad_rows=job.bad_rows,
        max_bad_rows=job.max_bad_rows,
        show_model_error=job.show_model_error,
        timeout=job.seconds,
    )
    return _identified(_checked(plan, frame.schema), frame.schema, written, job)


def _notes(
    spark: SparkSession, job: ScoringJob, source: PinnedSource, target: Target, lookups: LookupPlan | None
) -> list[str]:
    """What is to be known of the session, the tables and who scores; each once."""
    tables = lookups.tables if lookups is not None else ()
    of_tables = [note for table in tables for note in table.notes]
    of_session = unheeded(spark, job.spark)
    notes_on_output = _notes_on_output(spark, job, target)
    told = (*of_session, source.ref.note, source.note, target.ref.note, *of_tables, *notes_on_output)
    notes = dict.fromkeys(note for note in told if note)
    if job.engine == "databricks":
        notes["a feature client scores: what it looks up reaches the model as it is in its table"] = None
    return list(notes)


def _notes_on_output(spark: SparkSession, job: ScoringJob, target: Target) -> list[str]:
    """What may not be meant: a schema that comes into being, rows that are added once more."""
    note = new_schema(spark, target.ref) if target.schema is None else None
    notes = [] if note is None else [note]
    if target.writing.mode == "append" and job.increments is None and job.source.where is None:
        again = "once the source has changed, a run appends all its rows again, also those that are scored already"
        ways = "mode: merge" if job.source.format else "incremental: true, or mode: merge"
        notes.append(f"{again}; to score only what is new, set {ways} before the first run")
    return notes


def _checked(plan: JobPlan, columns: StructType) -> JobPlan:
    """The plan with what its outputs' columns become, once all that is written fits them."""
    problems = Gathering()
    with problems.attempt():
        if plan.client is None:
            check_kept(columns, plan.keep, plan.scoring, plan.stage)
        else:
            check_delegation(plan.scoring)
    with problems.attempt():
        added = renamed([*(o.name for o in plan.scoring.outputs), *LINEAGE], dict(plan.names))
        check_names(plan.keep, added)
        changes = check_output(plan, plan.target)
        changes_apart = check_output(plan, plan.quarantine) if plan.quarantine is not None else ()
        plan = replace(plan, schema_changes=changes, quarantine_changes=changes_apart)
    problems.raise_all()
    return plan


def _hints(source: PinnedSource) -> Sequence[Problem]:
    """What may be the cause of all problems, where the source's columns have no names."""
    hint = None if source.reading is None else source.reading.hint(source.rows)
    return () if hint is None else SourceError.guess(source.ref.text, hint).problems


def _identified(plan: JobPlan, columns: StructType, written: Sequence[PinnedSql], job: ScoringJob) -> JobPlan:
    """The plan with what its expressions add to the identity of its runs.

    A micro-batch is known by its number, whatever the expressions mean: of an incremental job only the tables count.
    """
    expressions = [*([] if plan.source.filter is None else [plan.source.filter]), *written]
    if job.increments is not None:
        tables = dict.fromkeys(table for expression in expressions for table in expression.tables)
        return replace(plan, identity=Identity(tuple(tables)))
    identity = find_identity(
        plan.session,
        expressions=expressions,
        columns=columns,
        lookups=plan.scoring.lookups,
        replace_where=plan.target.writing.replace_where,
        output=written_schema(plan),
        output_id=plan.target.table_id,
        unpinned=plan.source.unpinned,
        settings=tuple(key for key in job.spark if decides(key)),
    )
    notes = identity.notes
    if identity.causes and plan.target.writing.mode == "append":
        notes.append("a repeated run adds its rows again; mode: merge or overwrite would not")
    return replace(plan, identity=identity, scoring=with_notes(plan.scoring, notes))


def _default_keep(job: ScoringJob, source: PinnedSource, target: Target) -> list[str]:
    """All of the source's columns; of an incremental job's, those that its output has come to know, unless it evolves.

    A column that is new in the source is so no reason to stop.
    """
    columns = source.frame.columns
    if job.increments is None or job.output.evolve or target.schema is None:
        return columns
    known = {name.lower() for name in target.schema.names}
    return [name for name in columns if name.lower() in known]
