"""The only place where the steps meet: resolve, plan, score, write, report."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.ledger import Commit, RunFacts, find_commit
from spark_scoring.delta.names import without_file_scheme
from spark_scoring.delta.once import standing, write_once
from spark_scoring.delta.sink import Target, check_target, inspect_again, inspect_target
from spark_scoring.delta.source import PinnedSource, pin_source, read_version
from spark_scoring.engine.progress import watch_tasks
from spark_scoring.engine.stage import StageName, score_frame
from spark_scoring.errors import CommitError, Gathering, JobError, OutputError, RequestError, SourceError, first_line
from spark_scoring.model.categories import given_levels
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import ModelSpec, read_spec
from spark_scoring.plan.explain import as_text, plan_page, plan_view
from spark_scoring.plan.outputs import ERROR_COLUMN, PerClass
from spark_scoring.plan.planner import Expression, Request, ScoringPlan, make_plan, with_notes
from spark_scoring.plan.policy import FeaturePolicy, Policy, Preset
from spark_scoring.report.run import RunReport
from spark_scoring.session import get_session
from spark_scoring.sql import changing_functions, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import Column, SparkSession
    from pyspark.sql.types import DataType

    from spark_scoring.job import ScoringJob
    from spark_scoring.model.types import Levels

_SHOWN_REASONS = 10
_NAMINGS = {"spark_scoring": {}, "databricks": {"model_version": "model_id", "scored_at": "timestamp"}}
_LINEAGE = ("model_name", "model_version", "scored_at", "run_id")


@dataclass(frozen=True)
class JobPlan:
    """A job that can run: its scoring plan, its pinned source and its checked output."""

    scoring: ScoringPlan
    source: PinnedSource
    target: Target
    keep: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    stage: StageName
    name: str | None = None
    """What the job is called."""
    force: bool = False
    """Whether it runs although the same run was made before."""

    def explain(self) -> str:
        """What the run will read, do and write, as plain text."""
        return as_text(self.view())

    def view(self) -> Group:
        """What the run will read, do and write, as a rich renderable."""
        places = Table.grid(padding=(0, 2))
        for label, text in self._places().items():
            places.add_row(label, Text(text))
        return Group(places, plan_view(self.scoring))

    def to_html(self) -> str:
        """What the run will read, do and write, as a whole HTML page, escaped."""
        return plan_page(self.scoring, self._places())

    def _places(self) -> dict[str, str]:
        """Where the rows come from and go to."""
        source, target = self.source, self.target
        condition = f" where {source.where}" if source.where else ""
        existing = "the table is new" if target.schema is None else "the table exists"
        replaced = f" where {target.replace_where}" if target.replace_where else ""
        return {
            "source": f"{source.ref.text} at version {source.version}{condition}",
            "output": f"{target.ref.text}, {target.mode}{replaced} ({existing})",
            "keeps": ", ".join(self.keep),
        }

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        source, target = self.source, self.target
        return {
            "plan": self.scoring.to_dict(),
            "source": {"table": source.ref.text, "version": source.version, "where": source.where},
            "output": {
                "table": target.ref.text,
                "mode": target.mode,
                "replace_where": target.replace_where,
                "exists": target.schema is not None,
            },
            "keep": self.keep,
        }


def plan_scoring(
    model: str,
    table: StructType | DataFrame,
    *,
    policy: Policy | Preset | Mapping[str, FeaturePolicy] = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: Sequence[str] = ("predict",),
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> ScoringPlan:
    """Plan the scoring of a table with a registered model. Reads no rows.

    Loads the model once on the driver, which runs its code: score only models whose origin you trust.

    Args:
        model: ``models:/name/version``, ``models:/name@alias``, ``runs:/...`` or a model folder.
        table: the DataFrame, or its schema.
        policy: ``strict``, ``lenient``, or a policy per feature (``"*"``: all others).
        columns: a SQL expression per feature whose column has another name or needs work; needs a session.
        categories: levels in the order of training, per category feature whose levels the model does not hold.
        predict: ``predict`` and other methods of the native model: ``predict_proba``, ``predict_log_proba``,
            ``decision_function``, ``score_samples``; all in one pass over the data.
        params: inference parameters of the model's signature.
        per_class: probabilities as one ``array`` column, or as ``columns``, one for each class.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.

    Raises:
        ModelError: the model cannot be found, read or loaded.
        PlanError: with everything that keeps it from scoring this table.

    """
    spec = read_spec(resolve_model(model, tracking_uri=tracking_uri, registry_uri=registry_uri))
    schema = table if isinstance(table, StructType) else table.schema
    problems = Gathering()
    expressions = {}
    if columns:
        frame = get_session().createDataFrame([], schema) if isinstance(table, StructType) else table
        expressions = _typed_expressions(frame, columns, problems)
    problems.raise_all()
    request = Request(
        policy=Policy.of(policy),
        expressions=expressions,
        categories=_levels(categories or {}),
        methods=tuple(predict),
        params=params or {},
        per_class=per_class,
        case_sensitive=isinstance(table, DataFrame) and _case_sensitive(table.sparkSession),
    )
    return make_plan(spec, schema, request)


def score_batch(
    df: DataFrame,
    model: str,
    *,
    policy: Policy | Preset | Mapping[str, FeaturePolicy] = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: Sequence[str] = ("predict",),
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    stage: StageName = "udf",
    names: Mapping[str, str] | None = None,
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
    plan = plan_scoring(
        model,
        df,
        policy=policy,
        columns=columns,
        categories=categories,
        predict=predict,
        params=params,
        per_class=per_class,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    added = _renamed([o.name for o in plan.outputs], names or {})
    _check_names(df.columns, added, case_sensitive=_case_sensitive(df.sparkSession))
    return score_frame(df, plan, stage=stage, names=names)


def plan_job(job: ScoringJob, spark: SparkSession | None = None) -> JobPlan:
    """Plan a job: pin its model and source, check its output. Reads no rows, writes nothing.

    Raises:
        RequestError: with every problem of model, source, plan and output that can be known at once.

    """
    spark = spark or get_session(job.warehouse)
    problems = Gathering()
    source = target = spec = None
    with problems.attempt():
        source = pin_source(spark, **job.source.model_dump())
    with problems.attempt():
        place = job.output.model_dump(include={"table", "path", "mode", "replace_where"})
        target = inspect_target(spark, **place)
    with problems.attempt():
        spec = read_spec(resolve_model(job.model, tracking_uri=job.tracking_uri, registry_uri=job.registry_uri))
    if source is None or target is None or spec is None:
        raise RequestError(problems.problems)
    return _plan_between(job, source, target, spec)


def _plan_between(job: ScoringJob, source: PinnedSource, target: Target, spec: ModelSpec) -> JobPlan:
    """The plan over parts that were found; what is wrong between them comes at once."""
    problems = Gathering()
    keep = scoring = None
    with problems.attempt():
        keep = _kept_columns(source.frame, job.output.keep)
    expressions = _typed_expressions(source.frame, job.columns, problems)
    with problems.attempt():
        request = Request(
            policy=job.scoring_policy(),
            expressions=expressions,
            categories=_levels(job.categories),
            methods=job.predict,
            params=job.params,
            per_class=job.per_class,
            case_sensitive=_case_sensitive(source.frame.sparkSession),
        )
        scoring = make_plan(spec, source.frame.schema, request)
    if keep is None or scoring is None or problems.problems:
        raise RequestError(problems.problems)
    notes = dict.fromkeys(ref.note for ref in (source.ref, target.ref) if ref.note)
    names = {**_NAMINGS[job.output.naming], **job.output.names}
    notes = {**notes, **dict.fromkeys(_unrepeatable(scoring, source, target))}
    plan = JobPlan(
        scoring=with_notes(scoring, list(notes)),
        source=source,
        target=target,
        keep=keep,
        names=tuple(names.items()),
        stage=job.stage,
        name=job.name,
        force=job.force,
    )
    with problems.attempt():
        added = _renamed([*(o.name for o in scoring.outputs), *_LINEAGE], names)
        _check_names(keep, added)
        _check_target(plan, target)
    problems.raise_all()
    return plan


def _check_target(plan: JobPlan, target: Target) -> None:
    """Refuse an output that cannot take what the run writes."""
    names = dict(plan.names)
    nullable = [names.get(output.name, output.name) for output in plan.scoring.outputs]
    check_target(target, plan.source, _schema_frame(plan), nullable)


def _unrepeatable(scoring: ScoringPlan, source: PinnedSource, target: Target) -> list[str]:
    """A note where an expression's value changes from run to run, so that no two runs are the same one."""
    _, always = _changing(scoring, source, target)
    if not always:
        return []
    return [f"every run counts as another one: its expressions use {', '.join(sorted(always))}"]


def _changing(scoring: ScoringPlan, source: PinnedSource, target: Target) -> tuple[frozenset[str], frozenset[str]]:
    """Functions of the day, and functions of the moment or of chance, in the job's expressions."""
    expressions = [source.where, target.replace_where, *[feature.source for feature in scoring.features]]
    found = [changing_functions(sql) for sql in expressions if sql]
    return frozenset().union(*[daily for daily, _ in found]), frozenset().union(*[always for _, always in found])


def run_job(
    job: ScoringJob | JobPlan,
    spark: SparkSession | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> RunReport:
    """Score a Delta table into another one, in one commit.

    Args:
        job: the job, or its plan from ``plan_job``.
        spark: the session; default: the active one, else a new local one.
        on_progress: called now and then from another thread with (finished tasks, all tasks).

    Raises:
        RequestError: the job cannot run as it stands; nothing was read or written.
        RunError: the run failed; nothing was committed, unless the text says so.

    """
    plan = job if isinstance(job, JobPlan) else plan_job(job, spark)
    spark = plan.source.frame.sparkSession
    run_id = uuid.uuid4().hex
    started = time.time()
    try:
        facts = _facts(plan, run_id, started)
        before = standing(spark, plan.target, facts.idempotency_key)
        if before.whole is not None and not plan.force:
            return _earlier_report(plan, before.whole)
        facts = replace(facts, rows_in=plan.source.frame.count())
        observed = _Observed(run_id)
        frame = _written_frame(plan, run_id, started, observed)
        begin = time.perf_counter()
        with watch_tasks(spark, run_id, on_progress):
            written = write_once(frame, plan.target, facts, before, refresh=lambda: _target_now(plan), force=plan.force)
        seconds = time.perf_counter() - begin
    except Exception as error:
        if committed := _commit_of_failed_run(plan, run_id):
            text, kind = plan.target.ref.text, type(error).__name__
            raise CommitError.after_commit(text, committed.version, kind) from error
        raise explain_failure(error, plan.target.ref.text) from error
    if written.is_earlier:
        return _earlier_report(plan, written.commit)
    commit = written.commit
    if commit.rows != facts.rows_in:
        raise CommitError.rows_differ(plan.target.ref.text, facts.rows_in, commit.rows, commit.version)
    return _report(plan, commit, facts, observed.counts(), seconds=seconds)


def _target_now(plan: JobPlan) -> Target:
    """The output as other writers have left it, if it still takes what the run writes."""
    target = inspect_again(plan.source.frame.sparkSession, plan.target)
    _check_target(plan, target)
    return target


def _commit_of_failed_run(plan: JobPlan, run_id: str) -> Commit | None:
    """The commit of a run that raised, if it had got that far; None too where there is no table to ask."""
    try:
        return find_commit(plan.source.frame.sparkSession, plan.target.ref, run_id)
    except Exception:  # noqa: BLE001  the table may not be there, and the run's own error is what counts
        return None


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
        return tuple((name, int(n)) for i, name in enumerate(self._names) if (n := found[f"c{i}"]))


def _written_frame(plan: JobPlan, run_id: str, started: float, observed: _Observed | None = None) -> DataFrame:
    """The columns that the run writes: kept, predicted, lineage."""
    names = dict(plan.names)
    scored = score_frame(
        plan.source.frame,
        plan.scoring,
        stage=plan.stage,
        keep=plan.keep,
        names=names,
        observe=observed.watch if observed else None,
    )
    return scored.select("*", *_lineage(plan, run_id, started))


def _schema_frame(plan: JobPlan) -> DataFrame:
    """The columns of ``_written_frame`` without a model: planning ships nothing to the workers."""
    names = dict(plan.names)
    kept = [F.col(quote(name)) for name in plan.keep]
    outputs = [F.lit(None).cast(o.type).alias(names.get(o.name, o.name)) for o in plan.scoring.outputs]
    return plan.source.frame.select(*kept, *outputs, *_lineage(plan, "", 0.0))


def _lineage(plan: JobPlan, run_id: str, started: float) -> list[Column]:
    """Which model made a row, when and in which run."""
    model, names = plan.scoring.model, dict(plan.names)
    lineage = {
        "model_name": F.lit(model.name or model.uri),
        "model_version": F.lit(model.version).cast("string"),
        "scored_at": F.timestamp_micros(F.lit(int(started * 1e6))),
        "run_id": F.lit(run_id),
    }
    return [column.alias(names.get(name, name)) for name, column in lineage.items()]


def _facts(plan: JobPlan, run_id: str, started: float) -> RunFacts:
    """What identifies the run; its rows are not counted yet."""
    model = plan.scoring.model
    moment = plan.source.frame.sparkSession.sql("SELECT current_user() AS user, CAST(current_date() AS STRING) AS day")
    now = moment.collect()[0]
    return RunFacts(
        run_id=run_id,
        idempotency_key=_idempotency_key(plan, now["day"]),
        generation=1,
        job=plan.name or f"{model.name or model.uri} on {plan.source.ref.text}",
        mode=plan.target.mode,
        run_column=dict(plan.names).get("run_id", "run_id"),
        model_uri=model.uri,
        model_name=model.name,
        model_version=model.version,
        model_digest=model.digest,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_id=plan.source.table_id,
        source_version=plan.source.version,
        where=plan.source.where,
        rows_in=0,
        user=now["user"],
        started=dt.datetime.fromtimestamp(started, tz=dt.timezone.utc).isoformat(),
        replace_where=plan.target.replace_where,
    )


def _idempotency_key(plan: JobPlan, today: str) -> str:
    """sha256 over what decides a run's rows: equal for two runs that would write the same ones.

    Tables count by Delta's own id, however they are written; the output's is where the key is kept.
    """
    model, source, target = plan.scoring.model, plan.source, plan.target
    daily, always = _changing(plan.scoring, source, target)
    decisive = {
        "job": plan.name,
        "source": [source.table_id, source.version, source.where],
        "model": [model.name or model.uri, model.version],
        "plan": plan.scoring.hash,
        "columns": [plan.keep, sorted(plan.names)],
        "output": [target.mode, target.replace_where],
        "day": today if daily else None,
        "moment": uuid.uuid4().hex if always else None,
    }
    return "spark_scoring-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _earlier_report(plan: JobPlan, commit: Commit) -> RunReport:
    """The report of a run that was made before and whose rows are there."""
    return _report(plan, commit, cast("RunFacts", commit.facts), (), seconds=0.0, skipped=True)


def _report(
    plan: JobPlan,
    commit: Commit,
    facts: RunFacts,
    touched: tuple[tuple[str, int], ...],
    *,
    seconds: float,
    skipped: bool = False,
) -> RunReport:
    spark = plan.source.frame.sparkSession
    ref = plan.target.ref
    names = dict(plan.names)
    written = spark.table(ref.sql) if skipped else read_version(spark, ref, commit.version)
    error, own = names.get(ERROR_COLUMN, ERROR_COLUMN), facts.run_column
    rows_bad = (F.col(quote(own)) == facts.run_id) & F.col(quote(error)).isNotNull()
    bad = written.where(rows_bad).groupBy(F.col(quote(error)).alias("reason")).count()
    reasons = [(row["reason"], int(row["count"])) for row in bad.orderBy(F.desc("count"), "reason").collect()]
    location = spark.sql(f"DESCRIBE DETAIL {ref.sql}").collect()[0]["location"]
    return RunReport(
        run_id=facts.run_id,
        skipped=skipped,
        job=facts.job,
        model=plan.scoring.model.name or plan.scoring.model.uri,
        model_version=plan.scoring.model.version,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_version=plan.source.version,
        output=ref.text,
        output_version=commit.version,
        output_location=without_file_scheme(str(location)),
        rows_in=commit.rows,  # checked to be equal
        rows_out=commit.rows,
        bad_rows=sum(rows for _, rows in reasons),
        reasons=tuple(reasons[:_SHOWN_REASONS]),
        touched=touched,
        scored_at=facts.started,
        seconds=seconds,
    )


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
        raise SourceError.bad_expression(feature, sql, first_line(error)) from error
    return cast("StructType", struct)["v"].dataType


def _kept_columns(frame: DataFrame, keep: Sequence[str] | None) -> tuple[str, ...]:
    """The source's columns to keep, in the job's order and the source's spelling."""
    if keep is None:
        return tuple(frame.columns)
    fold = str if _case_sensitive(frame.sparkSession) else str.lower
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


def _case_sensitive(spark: SparkSession) -> bool:
    return str(spark.conf.get("spark.sql.caseSensitive", "false")).lower() == "true"
