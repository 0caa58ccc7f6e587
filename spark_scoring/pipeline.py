"""The only place where the steps meet: resolve, plan, score, write, report."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from dataclasses import dataclass
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
from spark_scoring.delta.sink import Target, check_target, inspect_target, write
from spark_scoring.delta.source import PinnedSource, pin_source, read_version
from spark_scoring.engine.progress import watch_tasks
from spark_scoring.engine.stage import StageName, score_frame
from spark_scoring.errors import CommitError, Gathering, JobError, OutputError, RequestError, SourceError, first_line
from spark_scoring.features.delegate import Delegation, check_delegation, score_with_client
from spark_scoring.features.join import add_features, check_keys, schema_with_features
from spark_scoring.features.planning import plan_features
from spark_scoring.model.categories import given_levels
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import ModelSpec, read_spec
from spark_scoring.plan.explain import as_text, plan_page, plan_view
from spark_scoring.plan.outputs import ERROR_COLUMN, PerClass
from spark_scoring.plan.planner import Expression, Request, ScoringPlan, make_plan, with_notes
from spark_scoring.plan.policy import FeaturePolicy, Policy, Preset
from spark_scoring.report.run import RunReport
from spark_scoring.session import get_session
from spark_scoring.sql import quote

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
    client: Delegation | None = None
    """Where a feature client scores, instead of this package."""

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
        return {
            "source": f"{source.ref.text} at version {source.version}{condition}",
            "output": f"{target.ref.text}, {target.mode} ({existing})",
            "keeps": ", ".join(self.keep),
        }

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        source, target = self.source, self.target
        return {
            "plan": self.scoring.to_dict(),
            "source": {"table": source.ref.text, "version": source.version, "where": source.where},
            "output": {"table": target.ref.text, "mode": target.mode, "exists": target.schema is not None},
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
        columns: a SQL expression per feature whose column has another name or needs work; needs a session, as does
            a model with feature lookups.
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
    lookups = None
    if spec.features is not None:
        lookups, schema = plan_features(_frame_of(table), spec.features)
    if columns:
        frame = _frame_of(table if lookups is None else schema)
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
        lookups=lookups,
    )
    return make_plan(spec, schema, request)


def _frame_of(table: StructType | DataFrame) -> DataFrame:
    """The table, or an empty one of its columns."""
    return get_session().createDataFrame([], table) if isinstance(table, StructType) else table


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
    rows = df if plan.lookups is None else add_features(df, plan.lookups)
    return score_frame(rows, plan, stage=stage, keep=df.columns, names=names)


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
        raise RequestError(problems.problems)
    return _plan_between(job, source, target, spec)


def _plan_between(job: ScoringJob, source: PinnedSource, target: Target, spec: ModelSpec) -> JobPlan:
    """The plan over parts that were found; what is wrong between them comes at once."""
    problems = Gathering()
    keep = scoring = lookups = None
    frame = source.frame
    if spec.features is not None:
        lookups, schema = plan_features(frame, spec.features)
        frame = _frame_of(schema)
    with problems.attempt():
        keep = _kept_columns(frame, source.frame.columns if job.output.keep is None else job.output.keep)
    expressions = _typed_expressions(frame, job.columns, problems)
    with problems.attempt():
        request = Request(
            policy=job.scoring_policy(),
            expressions=expressions,
            categories=_levels(job.categories),
            methods=job.predict,
            params=job.params,
            per_class=job.per_class,
            case_sensitive=_case_sensitive(source.frame.sparkSession),
            lookups=lookups,
        )
        scoring = make_plan(spec, frame.schema, request)
    if keep is None or scoring is None or problems.problems:
        raise RequestError(problems.problems)
    places = [source.ref.note, target.ref.note, *(table.note for table in (lookups.tables if lookups else ()))]
    notes = dict.fromkeys(note for note in places if note)
    names = {**_NAMINGS[job.output.naming], **job.output.names}
    client = Delegation(job.tracking_uri, job.registry_uri) if job.engine == "databricks" else None
    if client is not None:
        notes["a feature client scores: what it looks up reaches the model as it is in its table"] = None
    plan = JobPlan(with_notes(scoring, list(notes)), source, target, keep, tuple(names.items()), job.stage, client)
    with problems.attempt():
        if client is not None:
            check_delegation(scoring)
    with problems.attempt():
        added = _renamed([*(o.name for o in scoring.outputs), *_LINEAGE], names)
        _check_names(keep, added)
        check_target(target, source, _written_schema(plan), added[: len(scoring.outputs)])
    problems.raise_all()
    return plan


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
    if plan.scoring.lookups is not None:
        check_keys(plan.source.frame, plan.scoring.lookups)
    try:
        rows_in = plan.source.frame.count()
        observed = _Observed(run_id)
        frame = _written_frame(plan, run_id, started, observed)
        begin = time.perf_counter()
        with watch_tasks(frame.sparkSession, run_id, on_progress):
            write(frame, plan.target, _facts(plan, run_id, rows_in).to_json())
        seconds = time.perf_counter() - begin
    except Exception as error:
        if committed := _commit_of_failed_run(plan, run_id):
            text, kind = plan.target.ref.text, type(error).__name__
            raise CommitError.after_commit(text, committed.version, kind) from error
        raise explain_failure(error, plan.target.ref.text) from error
    commit = _own_commit(plan, run_id, rows_in)
    return _report(plan, run_id, commit, observed.counts(), started=started, seconds=seconds)


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
    frame, lookups = plan.source.frame, plan.scoring.lookups
    if plan.client is not None:
        scored = score_with_client(frame, plan.scoring, plan.client, keep=plan.keep, names=names)
    else:
        scored = score_frame(
            frame if lookups is None else add_features(frame, lookups, checked=True),
            plan.scoring,
            stage=plan.stage,
            keep=plan.keep,
            names=names,
            observe=observed.watch if observed else None,
        )
    return scored.select("*", *_lineage(plan, run_id, started))


def _written_schema(plan: JobPlan) -> StructType:
    """The columns of ``_written_frame`` without a model: planning ships nothing to the workers."""
    names = dict(plan.names)
    kept = [F.col(quote(name)) for name in plan.keep]
    outputs = [F.lit(None).cast(o.type).alias(names.get(o.name, o.name)) for o in plan.scoring.outputs]
    frame, lookups = plan.source.frame, plan.scoring.lookups
    if lookups is not None:
        frame = _frame_of(schema_with_features(frame, lookups))
    return frame.select(*kept, *outputs, *_lineage(plan, "", 0.0)).schema


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
        feature_tables={t.name: t.version for t in plan.scoring.lookups.tables} if plan.scoring.lookups else {},
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
    plan: JobPlan,
    run_id: str,
    commit: Commit,
    touched: tuple[tuple[str, int], ...],
    *,
    started: float,
    seconds: float,
) -> RunReport:
    spark = plan.source.frame.sparkSession
    ref = plan.target.ref
    names = dict(plan.names)
    written = read_version(spark, ref, commit.version)
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
        output_location=without_file_scheme(str(location)),
        rows_in=commit.rows,  # checked to be equal
        rows_out=commit.rows,
        bad_rows=sum(rows for _, rows in reasons),
        reasons=tuple(reasons[:_SHOWN_REASONS]),
        touched=touched,
        scored_at=dt.datetime.fromtimestamp(started, tz=dt.timezone.utc).isoformat(),
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


def _kept_columns(frame: DataFrame, keep: Sequence[str]) -> tuple[str, ...]:
    """The columns to keep, in the job's order and the table's spelling."""
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
