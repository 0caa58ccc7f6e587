"""The only place where the steps meet: resolve, plan, score, write, report."""

from __future__ import annotations

import datetime as dt
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from spark_scoring.delta.ledger import Commit, RunFacts, find_commit
from spark_scoring.delta.sink import Target, check_target, inspect_target, write
from spark_scoring.delta.source import PinnedSource, first_line, pin_source
from spark_scoring.engine.progress import watch_tasks
from spark_scoring.engine.stage import StageName, score_frame
from spark_scoring.errors import (
    CommitError,
    Gathering,
    ModelFailedError,
    ModelOutputError,
    OutputError,
    Problem,
    RunError,
    SourceError,
)
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import ModelSpec, read_spec
from spark_scoring.plan.planner import ERROR_COLUMN, Expression, ScoringPlan, make_plan, with_notes
from spark_scoring.plan.policy import FeaturePolicy, Policy, Preset
from spark_scoring.report.run import RunReport
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import Column, SparkSession

    from spark_scoring.job import ScoringJob

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

    def explain(self) -> str:
        """What the run will read, do and write, as plain text."""
        return self.scoring.explain()

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return {
            "plan": self.scoring.to_dict(),
            "source": {"table": self.source.ref.text, "version": self.source.version, "where": self.source.where},
            "output": {"table": self.target.ref.text, "mode": self.target.mode, "exists": self.target.schema is not None},
            "keep": self.keep,
        }


def plan_scoring(
    model: str,
    table: StructType | DataFrame,
    *,
    policy: Policy | Preset | Mapping[str, FeaturePolicy] = "strict",
    columns: Mapping[str, str] | None = None,
    predict: Sequence[str] = ("predict",),
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
        predict: ``predict`` and, for classifiers, ``predict_proba``.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.

    Raises:
        ModelError: the model cannot be found, read or loaded.
        PlanError: with everything that keeps it from scoring this table.
    """
    spec = read_spec(resolve_model(model, tracking_uri=tracking_uri, registry_uri=registry_uri))
    schema, expressions = _typed_expressions(table, columns or {})
    sensitive = isinstance(table, DataFrame) and _case_sensitive(table.sparkSession)
    return make_plan(
        spec, schema, policy=Policy.of(policy), expressions=expressions, methods=predict, case_sensitive=sensitive
    )


def score_batch(
    df: DataFrame,
    model: str,
    *,
    policy: Policy | Preset | Mapping[str, FeaturePolicy] = "strict",
    columns: Mapping[str, str] | None = None,
    predict: Sequence[str] = ("predict",),
    stage: StageName = "udf",
    names: Mapping[str, str] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> DataFrame:
    """The DataFrame with ``prediction`` (``probability``) and ``scoring_error`` added. Lazy: scores on its first action.

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
        predict=predict,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    added = [(names or {}).get(o.name, o.name) for o in plan.outputs]
    _check_names(df.columns, added)
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
        target = inspect_target(spark, table=job.output.table, path=job.output.path, mode=job.output.mode)
    with problems.attempt():
        spec = read_spec(resolve_model(job.model, tracking_uri=job.tracking_uri, registry_uri=job.registry_uri))
    if source is None or target is None or spec is None:
        problems.raise_all()
    assert source is not None and target is not None and spec is not None  # noqa: S101, PT018  for mypy
    return _plan_checked(job, source, target, spec, problems)


def _plan_checked(
    job: ScoringJob, source: PinnedSource, target: Target, spec: ModelSpec, problems: Gathering
) -> JobPlan:
    """The plan over parts that were found; what is wrong between them comes at once."""
    spark = source.frame.sparkSession
    names = {**_NAMINGS[job.output.naming], **job.output.names}
    plan = None
    keep: tuple[str, ...] = ()
    with problems.attempt():
        keep = _kept_columns(source.frame, job.output.keep)
    with problems.attempt():
        schema, expressions = _typed_expressions(source.frame, job.columns)
        plan = make_plan(
            spec,
            schema,
            policy=job.scoring_policy(),
            expressions=expressions,
            methods=job.predict,
            case_sensitive=_case_sensitive(spark),
        )
    if plan is not None:
        added = [names.get(n, n) for n in (*(o.name for o in plan.outputs), *_LINEAGE)]
        with problems.attempt():
            _check_names(keep, added)
            job_plan = JobPlan(plan, source, target, keep, tuple(names.items()), job.stage)
            nullable = [names.get(o.name, o.name) for o in plan.outputs]
            check_target(target, source, _written_frame(job_plan, "", 0.0).schema, nullable)
    problems.raise_all()
    notes = [note for ref in (source.ref, target.ref) if (note := ref.note)]
    assert plan is not None  # noqa: S101  for mypy
    return JobPlan(with_notes(plan, notes), source, target, keep, tuple(names.items()), job.stage)


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
    run_id = uuid.uuid4().hex
    started = time.time()
    try:
        rows_in = plan.source.frame.count()
        observed = _Observed(run_id)
        frame = _written_frame(plan, run_id, started, observed)
        begin = time.perf_counter()
        with watch_tasks(frame.sparkSession, run_id, on_progress):
            write(frame, plan.target, _facts(plan, run_id, rows_in).to_json())
        seconds = time.perf_counter() - begin
    except Exception as error:
        raise _explained(error, plan) from error
    commit = _own_commit(plan, run_id, rows_in)
    return _report(plan, run_id, commit, rows_in, started, seconds, observed)


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
    model = plan.scoring.model
    lineage = {
        "model_name": F.lit(model.name or model.uri),
        "model_version": F.lit(model.version).cast("string"),
        "scored_at": F.timestamp_micros(F.lit(int(started * 1e6))),
        "run_id": F.lit(run_id),
    }
    return scored.select("*", *[column.alias(names.get(n, n)) for n, column in lineage.items()])


def _facts(plan: JobPlan, run_id: str, rows_in: int) -> RunFacts:
    model = plan.scoring.model
    return RunFacts(
        run_id=run_id,
        model_uri=model.uri,
        model_name=model.name,
        model_version=model.version,
        model_digest=model.digest,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_id=plan.source.table_id,
        source_version=plan.source.version,
        where=plan.source.where,
        rows_in=rows_in,
    )


def _own_commit(plan: JobPlan, run_id: str, rows_in: int) -> Commit:
    """The run's commit, found in the table's history by the run's id, with as many rows as were read."""
    commit = find_commit(plan.source.frame.sparkSession, plan.target.ref, run_id)
    if commit is None:
        raise CommitError.not_found(plan.target.ref.text)
    if commit.rows != rows_in:
        raise CommitError.rows_differ(plan.target.ref.text, rows_in, commit.rows, commit.version)
    return commit


def _report(
    plan: JobPlan, run_id: str, commit: Commit, rows_in: int, started: float, seconds: float, observed: _Observed
) -> RunReport:
    spark = plan.source.frame.sparkSession
    ref = plan.target.ref
    names = dict(plan.names)
    reader = spark.read.option("versionAsOf", commit.version)
    written = reader.table(ref.sql) if ref.path is None else reader.format("delta").load(ref.path)
    error, own = names.get(ERROR_COLUMN, ERROR_COLUMN), names.get("run_id", "run_id")
    bad = written.where((F.col(own) == run_id) & F.col(error).isNotNull()).groupBy(F.col(error).alias("reason")).count()
    reasons = [(row["reason"], int(row["count"])) for row in bad.orderBy(F.desc("count"), "reason").collect()]
    location = spark.sql(f"DESCRIBE DETAIL {ref.sql}").collect()[0]["location"]
    return RunReport(
        run_id=run_id,
        model=plan.scoring.model.name or plan.scoring.model.uri,
        model_version=plan.scoring.model.version,
        plan_hash=plan.scoring.hash,
        source=plan.source.ref.text,
        source_version=plan.source.version,
        output=ref.text,
        output_version=commit.version,
        output_location=re.sub(r"^file:/*", "/", str(location)),
        rows_in=rows_in,
        rows_out=commit.rows,
        bad_rows=sum(rows for _, rows in reasons),
        reasons=tuple(reasons[:_SHOWN_REASONS]),
        touched=observed.counts(),
        scored_at=dt.datetime.fromtimestamp(started, tz=dt.timezone.utc).isoformat(),
        seconds=seconds,
    )


def _typed_expressions(
    table: StructType | DataFrame, columns: Mapping[str, str]
) -> tuple[StructType, dict[str, Expression]]:
    """The table's schema, and the job's expressions with the types that Spark gives them."""
    schema = table if isinstance(table, StructType) else table.schema
    if not columns:
        return schema, {}
    frame = table if isinstance(table, DataFrame) else get_session().createDataFrame([], schema)
    problems = Gathering()
    expressions = {}
    for feature, sql in columns.items():
        with problems.attempt():
            expressions[feature] = Expression(sql, _type_of(frame, feature, sql))
    problems.raise_all()
    return schema, expressions


def _type_of(frame: DataFrame, feature: str, sql: str) -> Any:
    """The type of a per-row expression; one that makes or joins rows is refused."""
    try:
        # in a struct beside the other columns, an aggregate or a generator fails here and not in the run
        return frame.select("*", F.struct(F.expr(sql).alias("v")).alias("s")).schema["s"].dataType["v"].dataType
    except (AnalysisException, ParseException) as error:
        raise SourceError.bad_expression(feature, sql, first_line(error)) from error


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


def _check_names(kept: Sequence[str], added: Sequence[str]) -> None:
    """Refuse two columns of one name; Delta's names know no case."""
    problems = Gathering()
    seen = {name.lower(): "a kept column" for name in kept}
    for name in added:
        with problems.attempt():
            if name.lower() in seen:
                raise OutputError.name_taken(name, seen[name.lower()])
        seen[name.lower()] = "another added column"
    problems.raise_all()


def _case_sensitive(spark: SparkSession) -> bool:
    return str(spark.conf.get("spark.sql.caseSensitive", "false")).lower() == "true"


def _explained(error: Exception, plan: JobPlan) -> RunError:
    """A failed run's error in our own words: what Spark and Delta say may hold row values."""
    text = str(error)
    if isinstance(error, RunError):
        return error
    if found := re.search(r"spark_scoring\.errors\.(\w+): (.+?): (.+?)\n\s+fix: (.+)", text):
        kinds = {"ModelOutputError": ModelOutputError, "ModelFailedError": ModelFailedError}
        return kinds.get(found[1], RunError)([Problem(found[2], f"{found[3]}; nothing was committed", found[4])])
    if found := re.search(r"spark_scoring: (.+?), and the feature's policy is to fail", text):
        cause = f"a row has {found[1]}, and the feature's policy is to fail; nothing was committed"
        return RunError([Problem("run", cause, "mend the row, or let the policy be bad_row or a fill value")])
    if found := re.search(r"\[(DELTA_(?:CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED)[A-Z_.]*)\]", text):
        return CommitError.conflict(plan.target.ref.text, found[1])
    if found := re.search(r"\[(DELTA_[A-Z_.]+)\]", text):
        return CommitError.failed(f"output {plan.target.ref.text}", f"Delta refused the write ({found[1]})", "see Spark's log")
    if found := re.search(r"ModuleNotFoundError: (No module named '[\w.]+')", text):
        fix = "install it where the executors run; the model's requirements.txt lists what it needs"
        return CommitError.failed("Python worker", found[1], fix)
    code = error.getCondition() if isinstance(error, PySparkException) else None
    cause = f"Spark failed with {code or type(error).__name__}"
    return CommitError.failed("run", cause, "see the chained error and Spark's log for the failing task")
