"""The only place where the steps meet: resolve, plan, score, write, report."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from spark_scoring.arguments import check_frame, check_order, choices_of, job_of
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve, with_suffix
from spark_scoring.delta.pinning import PinnedSql, pin_tables
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.delta.sink import Target, Writing, inspect_target
from spark_scoring.delta.source import PinnedSource, pin_filter_again, pin_source
from spark_scoring.delta.spark_errors import sql_fault
from spark_scoring.delta.tables import is_delta
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.rehearsal import rehearsed
from spark_scoring.engine.stage import StageName, check_kept, score_frame
from spark_scoring.errors import (
    Gathering,
    JobError,
    OutputError,
    Problem,
    RequestError,
    SourceError,
    StreamError,
)
from spark_scoring.features.delegate import Delegation, check_delegation
from spark_scoring.features.join import add_features
from spark_scoring.features.planning import plan_features
from spark_scoring.identity import Identity, find_identity
from spark_scoring.incremental import plan_increments, score_increments
from spark_scoring.job import place_of
from spark_scoring.job_plan import LINEAGE, JobPlan
from spark_scoring.model.categories import given_levels
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import ModelSpec, read_spec
from spark_scoring.plan.planner import Expression, Request, ScoringPlan, make_plan, with_notes
from spark_scoring.proposal import job_text, propose
from spark_scoring.running import carry_out, check_output, written_schema
from spark_scoring.session import get_session, launch_early

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import SparkSession
    from pyspark.sql.types import DataType

    from spark_scoring.job import Place, ScoringJob
    from spark_scoring.model.registry import PinnedModel
    from spark_scoring.model.types import Levels
    from spark_scoring.parameters import Value
    from spark_scoring.plan.outputs import PerClass
    from spark_scoring.plan.policy import PolicyLike
    from spark_scoring.proposal import Ask
    from spark_scoring.report.run import RunReport

_NAMINGS = {"spark_scoring": {}, "databricks": {"model_version": "model_id", "scored_at": "timestamp"}}


def plan_scoring(  # noqa: PLR0913  keyword-only
    model: str,
    table: StructType | DataFrame,
    *,
    policy: PolicyLike = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: str | Sequence[str] = "predict",
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> ScoringPlan:
    """Plan the scoring of a table with a registered model. Reads no rows.

    Loads the model once on the driver, which runs its code: score only models whose origin you trust.

    Args:
        model: ``models:/name/version``, ``models:/name@alias``, ``runs:/...``, an artifact's URI (``s3:``, ``dbfs:``,
            ...) or a model folder; see ``model.registry.resolve_model``.
        table: the DataFrame, or its schema.
        policy: ``strict``, ``lenient``, or a policy per feature (``"*"``: all others), as a job file has it
            (``{"visits": {"nulls": {"fill": 0}}}``) or as ``FeaturePolicy``.
        columns: a SQL expression per feature whose column has another name or needs work; needs a session, as does
            a model with feature lookups.
        categories: levels in the order of training, per category feature whose levels the model does not hold.
        predict: ``predict`` and other methods of the native model: ``predict_proba``, ``predict_log_proba``,
            ``decision_function``, ``score_samples``; all in one pass over the data. One name, or several.
        params: inference parameters of the model's signature.
        per_class: probabilities as one ``array`` column, or as ``columns``, one for each class.
        rehearse: whether the model is called on a few rows of its saved input example, or on made-up ones, to see
            that it treats each row by itself (docs/rehearsal.md).
        batch_dependent: whether a row's result may depend on other rows or on chance, on purpose.
        show_model_error: whether the traceback of the model's first error, whose text may hold values, is logged.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.

    Raises:
        RequestError: an argument is wrong; it is checked as a job file's field is.
        ModelError: the model cannot be found, read or loaded.
        PlanError: with everything that keeps it from scoring this table; or that it would score wrong, by the
            rehearsal (under ``lenient`` a note).

    """
    check_order(table, model, "plan_scoring(model, df)")
    check_frame(table, schema_too=True)
    choices = choices_of(
        model,
        policy=policy,
        columns=columns,
        categories=categories,
        predict=predict,
        params=params,
        per_class=per_class,
        rehearse=rehearse,
        batch_dependent=batch_dependent,
        show_model_error=show_model_error,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    return _plan_of_choices(choices, table)


def _plan_of_choices(choices: ScoringJob, table: StructType | DataFrame) -> ScoringPlan:
    """The plan of a table with what a job says of the model and the features."""
    spec = read_spec(resolve_model(choices.model, tracking_uri=choices.tracking_uri, registry_uri=choices.registry_uri))
    schema = table if isinstance(table, StructType) else table.schema
    problems = Gathering()
    expressions = {}
    lookups = None
    if spec.features is not None:
        lookups, schema = plan_features(_frame_of(table), spec.features)
    if choices.columns:
        frame = _frame_of(table if lookups is None else schema)
        _check_columns(frame, choices.columns, problems)
        expressions = _typed_expressions(frame, choices.columns, problems)
    problems.raise_all()
    request = Request(
        policy=choices.scoring_policy(),
        expressions=expressions,
        categories=_levels(choices.categories),
        methods=choices.predict,
        params=choices.params,
        per_class=choices.per_class,
        case_sensitive=not isinstance(table, StructType) and is_case_sensitive(table.sparkSession),
        lookups=lookups,
    )
    return rehearsed(
        make_plan(spec, schema, request),
        policy=request.policy,
        rehearse=choices.rehearse,
        batch_dependent=choices.batch_dependent,
        show_model_error=choices.show_model_error,
    )


def _frame_of(table: StructType | DataFrame) -> DataFrame:
    """The table, or an empty one of its columns."""
    return get_session().createDataFrame([], table) if isinstance(table, StructType) else table


def score_batch(  # noqa: PLR0913  keyword-only
    df: DataFrame,
    model: str,
    *,
    policy: PolicyLike = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: str | Sequence[str] = "predict",
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    stage: StageName = "udf",
    names: Mapping[str, str] | None = None,
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> DataFrame:
    """The DataFrame with ``prediction`` (``probability``) and ``scoring_error`` added; scored on its first action.

    Every row stays. In a row that fails a check or on which the model raises, the prediction is null and
    ``scoring_error`` names features and reasons, never values; elsewhere ``scoring_error`` is null. The
    prediction has the type of the model's output signature.

    Args:
        df: the table; its columns are kept as they are.
        stage: ``udf`` (pandas UDF, the default) or ``map`` (``mapInArrow``), with the same result.
        names: other names for the added columns.

    See ``plan_scoring`` for the other arguments and the errors.

    Raises:
        OutputError: ``df`` already has a column of an added one's name.

    """
    check_order(df, model, "score_batch(df, model)")
    check_frame(df)
    choices = choices_of(
        model,
        names,
        policy=policy,
        columns=columns,
        categories=categories,
        predict=predict,
        params=params,
        per_class=per_class,
        stage=stage,
        rehearse=rehearse,
        batch_dependent=batch_dependent,
        show_model_error=show_model_error,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    plan = _plan_of_choices(choices, df)
    added = _renamed([o.name for o in plan.outputs], names or {})
    _check_names(df.columns, added, case_sensitive=is_case_sensitive(df.sparkSession))
    rows = df if plan.lookups is None else add_features(df, plan.lookups)
    return score_frame(
        rows, plan, stage=choices.stage, keep=df.columns, names=names, show_model_error=choices.show_model_error
    )


def propose_job(
    model: str,
    table: str,
    output: str | None,
    file: Path | None,
    ask: Ask | None,
    settings: Mapping[str, str | None],
) -> tuple[Path, str, list[str]]:
    """A job file's path and text for a model and a table, and what to tell of it. Reads no rows, writes nothing.

    Raises:
        RequestError: with every problem of the model and the table.

    """
    given = {name: value for name, value in settings.items() if value is not None}
    uris = {name: given.get(name) for name in ("tracking_uri", "registry_uri")}
    launch_early(given.get("warehouse"))
    problems = Gathering()
    source = spec = None
    with problems.attempt():
        spec = read_spec(resolve_model(model, **uris))
    spark = get_session(given.get("warehouse"))
    with problems.attempt():
        source = pin_source(spark, **place_of(table))
    if source is None or spec is None:
        raise RequestError(problems.problems)
    columns = source.frame.schema if spec.features is None else plan_features(source.frame, spec.features)[1]
    proposal = propose(spec, columns, source.frame.schema.fields, table, ask)
    places = {
        "source": place_of(table),
        "output": place_of(output) if output else _free_output(spark, spec, place_of(table)),
    }
    if file is None:
        file = Path(_word(spec.name or place_of(table)["table"] or "job") + ".yml")
    return file, job_text(spec, {"model": model, **places, **given}, proposal, str(file)), proposal.told()


def _free_output(spark: SparkSession, spec: ModelSpec, source: Place) -> dict[str, str | None]:
    """``<source>_scored``; where another model has written to it, ``<source>_<model>_scored``. Reads Delta's log."""
    output = with_suffix("_scored", **source)
    ref = resolve(spark, **output)
    others = is_delta(spark, ref) and any(
        commit.facts is not None and commit.facts.model_name != spec.name for commit in read_commits(spark, ref, None)
    )
    return with_suffix(f"_{_word(spec.name)}_scored", **source) if others and spec.name else output


def _word(name: str) -> str:
    """The last part of a name, as it can be a file's name or part of a table's."""
    return re.sub(r"[^\w-]+", "_", name.rpartition(".")[2])


def plan_job(
    job: ScoringJob | Mapping[str, Any] | str | Path,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
) -> JobPlan:
    """Plan a job: pin its model and source, check its output. Reads no row of the source, writes nothing.

    Args:
        job: the job, a mapping of its fields, or the path of its YAML file.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.

    Raises:
        RequestError: with every problem of model, source, plan and output that can be known at once.
        TimeLimitError: the model, or Spark, took longer than the job's timeout.

    """
    job = job_of(job, spark, params)
    deadline = Deadline(job.seconds)
    if spark is None:
        launch_early(job.warehouse)
    problems = Gathering()
    spec = None
    with problems.attempt():
        spec = deadline.of_model(partial(read_spec, _pinned_model(job)))
    spark = spark or get_session(job.warehouse)
    with deadline.of_spark(spark, f"plan_{uuid.uuid4().hex}"):
        plan = _planned(job, spark, spec, problems, deadline)
    return replace(plan, planned_in=deadline.spent)


def _planned(
    job: ScoringJob, spark: SparkSession, spec: ModelSpec | None, problems: Gathering, deadline: Deadline
) -> JobPlan:
    """The plan of a job with its model, which is None where it has a problem."""
    source = target = quarantine = None
    with problems.attempt():
        source = pin_source(spark, **job.source.model_dump())
    with problems.attempt():
        place = {"table": job.output.table, "path": job.output.path}
        writing = Writing(job.output.mode, job.output.replace_where, job.output.key, job.output.evolve)
        target = inspect_target(spark, writing, **place)
        if job.bad_rows == "quarantine":
            quarantine = inspect_target(spark, writing, **with_suffix("_quarantine", **place))
    if source is None or target is None or spec is None:
        raise RequestError(problems.problems)
    plan = _plan_between(job, source, target, quarantine, spec, deadline)
    return replace(plan, increments=plan_increments(plan, job))


def _pinned_model(job: ScoringJob) -> PinnedModel:
    return resolve_model(
        job.model,
        tracking_uri=job.tracking_uri,
        registry_uri=job.registry_uri,
        allow_models=job.allow_models,
        expect_digest=job.expect_digest,
    )


def _at_present(plan: JobPlan, model_too: bool) -> JobPlan:  # noqa: FBT001
    """The plan of an incremental job, on the tables it looks into as they are now and, if so asked, the model."""
    spec = plan.scoring.model
    if plan.increments is None:
        return plan
    deadline = Deadline(plan.timeout)
    if model_too:
        model = _pinned_model(plan.increments.job)
        if (model.name, model.version, model.digest) != (spec.name, spec.version, spec.digest):
            spec = deadline.of_model(partial(read_spec, model))
    if spec is plan.scoring.model and plan.scoring.lookups is None and not plan.identity.tables:
        return plan
    before = plan.scoring if spec is plan.scoring.model else None
    source = pin_filter_again(plan.source)
    fresh = _plan_between(plan.increments.job, source, plan.target, plan.quarantine, spec, deadline, before=before)
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
    keep = scoring = lookups = None
    frame = source.frame
    if spec.features is not None:
        lookups, schema = plan_features(frame, spec.features)
        frame = _frame_of(schema)
    with problems.attempt():
        keep = _kept_columns(frame, _default_keep(job, source, target) if job.output.keep is None else job.output.keep)
    _check_columns(frame, job.columns, problems)
    written = _pinned_columns(frame, job.columns)
    expressions = _typed_expressions(frame, {name: pinned.sql for name, pinned in written.items()}, problems)
    with problems.attempt():
        request = Request(
            policy=job.scoring_policy(),
            expressions=expressions,
            categories=_levels(job.categories),
            methods=job.predict,
            params=job.params,
            per_class=job.per_class,
            case_sensitive=is_case_sensitive(source.frame.sparkSession),
            lookups=lookups,
        )
        rehearsal = partial(
            rehearsed,
            make_plan(spec, frame.schema, request),
            policy=request.policy,
            rehearse=job.rehearse,
            batch_dependent=job.batch_dependent,
            show_model_error=job.show_model_error,
            before=before,
        )
        scoring = deadline.of_model(rehearsal)
    if keep is None or scoring is None or problems.problems:
        raise RequestError([*problems.problems, *_hints(source)])
    tables = lookups.tables if lookups is not None else ()
    of_tables = [note for table in tables for note in table.notes]
    notes = dict.fromkeys(note for note in (source.ref.note, source.note, target.ref.note, *of_tables) if note)
    names = {**_NAMINGS[job.output.naming], **job.output.names}
    client = Delegation(job.tracking_uri, job.registry_uri) if job.engine == "databricks" else None
    if client is not None:
        notes["a feature client scores: what it looks up reaches the model as it is in its table"] = None
    plan = JobPlan(
        scoring=with_notes(scoring, list(notes)),
        source=source,
        target=target,
        quarantine=quarantine,
        keep=keep,
        names=tuple(names.items()),
        stage=job.stage,
        client=client,
        name=job.name,
        force=job.force,
        bad_rows=job.bad_rows,
        max_bad_rows=job.max_bad_rows,
        show_model_error=job.show_model_error,
        timeout=job.seconds,
    )
    with problems.attempt():
        if client is None:
            check_kept(frame.schema, keep, scoring, job.stage)
    with problems.attempt():
        if client is not None:
            check_delegation(scoring)
    with problems.attempt():
        added = _renamed([*(o.name for o in scoring.outputs), *LINEAGE], names)
        _check_names(keep, added)
        changes = check_output(plan, target)
        changes_apart = check_output(plan, quarantine) if quarantine is not None else ()
        plan = replace(plan, schema_changes=changes, quarantine_changes=changes_apart)
    problems.raise_all()
    return _identified(plan, frame.schema, list(written.values()), by_batches=job.increments is not None)


def _hints(source: PinnedSource) -> Sequence[Problem]:
    """What may be the cause of all problems, where the source's columns have no names."""
    hint = None if source.reading is None else source.reading.hint(source.rows)
    return () if hint is None else SourceError.guess(source.ref.text, hint).problems


def _check_columns(frame: DataFrame, columns: Mapping[str, str], problems: Gathering) -> None:
    """Raise what is gathered where the environment does not allow an expression: Spark is not given such a text."""
    before = len(problems.problems)
    for feature, sql in columns.items():
        with problems.attempt():
            check_sql(frame.sparkSession, f"columns: {feature}", sql, frame.columns)
    if len(problems.problems) > before:
        problems.raise_all(JobError)


def _pinned_columns(frame: DataFrame, columns: Mapping[str, str]) -> dict[str, PinnedSql]:
    """The features' expressions, with the tables that they read pinned where Spark takes that."""
    found = {}
    for feature, sql in columns.items():
        pinned = pin_tables(frame.sparkSession, f"column {feature}", sql)
        found[feature] = pinned if pinned.sql == sql or _fits(frame, pinned.sql) else pinned.as_written()
    return found


def _fits(frame: DataFrame, sql: str) -> bool:
    try:
        _ = frame.select(F.expr(sql)).schema
    except (AnalysisException, ParseException):
        return False
    return True


def _identified(plan: JobPlan, columns: StructType, written: Sequence[PinnedSql], *, by_batches: bool) -> JobPlan:
    """The plan with what its expressions add to the identity of its runs.

    A micro-batch is known by its number, whatever the expressions mean: of an incremental job only the tables count.
    """
    expressions = [*([] if plan.source.filter is None else [plan.source.filter]), *written]
    if by_batches:
        tables = dict.fromkeys(table for expression in expressions for table in expression.tables)
        return replace(plan, identity=Identity(tuple(tables)))
    identity = find_identity(
        plan.source.frame.sparkSession,
        expressions=expressions,
        columns=columns,
        lookups=plan.scoring.lookups,
        replace_where=plan.target.writing.replace_where,
        output=written_schema(plan),
        output_id=plan.target.table_id,
        unpinned=plan.source.unpinned,
    )
    notes = identity.notes
    if identity.causes and plan.target.writing.mode == "append":
        notes.append("a repeated run adds its rows again; mode: merge or overwrite would not")
    return replace(plan, identity=identity, scoring=with_notes(plan.scoring, notes))


def run_job(
    job: ScoringJob | JobPlan | Mapping[str, Any] | str | Path,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[RunReport], None] | None = None,
    until: threading.Event | None = None,
) -> RunReport:
    """Score a Delta table into another one, in one commit; of an incremental job, what is new, in one for each batch.

    Args:
        job: the job, a mapping of its fields, the path of its YAML file, or its plan from ``plan_job``.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.
        on_progress: called now and then from another thread with (finished tasks, all tasks).
        on_batch: of an incremental job: called with the report of each micro-batch once it is committed.
        until: an incremental job keeps going until this is set, and ends with the batch that it is at. The model's
            alias is read anew for each batch.

    Raises:
        RequestError: the job cannot run as it stands; nothing was read or written.
        RunError: the run failed; nothing was committed, unless the text says so. Batches before it are.

    """
    if isinstance(job, JobPlan) and params:
        raise RequestError.params_of_a_file()
    plan = job if isinstance(job, JobPlan) else plan_job(job, spark, params=params)
    if plan.increments is not None:
        return score_increments(
            plan,
            plan.increments,
            at_present=_at_present,
            plan_anew=plan_job,
            on_progress=on_progress,
            on_batch=on_batch,
            until=until,
        )
    if until is not None:
        raise StreamError.not_incremental()
    return carry_out(plan, on_progress)


def _levels(categories: Mapping[str, Sequence[Any]]) -> dict[str, Levels]:
    """Levels that the request names."""
    levels, problems = {}, Gathering()
    for feature, values in categories.items():
        with problems.attempt():
            try:
                levels[feature] = given_levels(values, "the job")
            except ValueError as error:
                raise JobError.bad_levels(feature, str(error)) from error
    problems.raise_all()
    return levels


def _typed_expressions(frame: DataFrame, columns: Mapping[str, str], problems: Gathering) -> dict[str, Expression]:
    """The job's expressions with the types that Spark gives them over the table."""
    expressions = {}
    for feature, sql in columns.items():
        type_ = None
        with problems.attempt():
            type_ = _type_of(frame, feature, sql)
        expressions[feature] = Expression(sql, type_)
    return expressions


def _type_of(frame: DataFrame, feature: str, sql: str) -> DataType:
    """The type of a per-row expression; one that makes or joins rows is refused."""
    try:
        # in a struct beside the other columns, an aggregate or a generator fails here and not in the run
        struct = frame.select("*", F.struct(F.expr(sql).alias("v")).alias("s")).schema[-1].dataType
    except (AnalysisException, ParseException) as error:
        raise SourceError.bad_expression(feature, sql, *sql_fault(error, frame.columns)) from error
    return cast("StructType", struct)["v"].dataType


def _default_keep(job: ScoringJob, source: PinnedSource, target: Target) -> list[str]:
    """All of the source's columns; of an incremental job's, those that its output has come to know, unless it evolves.

    A column that is new in the source is so no reason to stop.
    """
    columns = source.frame.columns
    if job.increments is None or job.output.evolve or target.schema is None:
        return columns
    known = {name.lower() for name in target.schema.names}
    return [name for name in columns if name.lower() in known]


def _kept_columns(frame: DataFrame, keep: Sequence[str]) -> tuple[str, ...]:
    """The columns to keep, in the job's order and the table's spelling."""
    fold = str if is_case_sensitive(frame.sparkSession) else str.lower
    by_name = {fold(c): c for c in frame.columns}
    problems = Gathering()
    for name in keep:
        with problems.attempt():
            if fold(name) not in by_name:
                raise OutputError.keep_missing(name, frame.columns)
    problems.raise_all()
    return tuple(by_name[fold(name)] for name in keep)


def _renamed(columns: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """The names under which added columns are written; a rename of a column that is not added is refused."""
    problems = Gathering()
    for name in names:
        with problems.attempt():
            if name not in columns:
                raise OutputError.no_such_output(name, columns)
    problems.raise_all()
    return [names.get(column, column) for column in columns]


def _check_names(kept: Sequence[str], added: Sequence[str], *, case_sensitive: bool = False) -> None:
    """Refuse two columns of one name; Delta's names know no case."""
    fold = str if case_sensitive else str.lower
    problems = Gathering()
    seen: set[str] = set()
    for name in (*kept, *added):
        with problems.attempt():
            if fold(name) in seen:
                raise OutputError.name_taken(name)
        seen.add(fold(name))
    problems.raise_all()
