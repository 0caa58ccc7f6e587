"""The two shells around the worker: a pandas UDF over lanes, and ``mapInArrow`` for whoever needs a map stage.

Both give the same result. In the UDF stage, columns that the model does not read stay in the JVM; in the map
stage they travel through the Python worker as Arrow data and come back as they went. (pandas would not bring
them back so: a BIGINT column with a null loses digits above 2^53, a timestamp in a repeated hour moves.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import StringType, StructField, StructType, YearMonthIntervalType

from spark_scoring.engine.batches import arrow_columns, series_columns, to_arrow, to_pandas
from spark_scoring.engine.columns import extend, prepare
from spark_scoring.engine.errors import OutputError
from spark_scoring.engine.internal_names import InternalNames
from spark_scoring.engine.native.frame import native_columns
from spark_scoring.engine.native.proof import RAISED
from spark_scoring.engine.output_columns import output_column
from spark_scoring.engine.returned_types import field_type, flat_fields
from spark_scoring.engine.worker_job import worker_job
from spark_scoring.errors import Gathering
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.engine.columns import Prepared
    from spark_scoring.engine.worker_job import WorkerJob
    from spark_scoring.plan.scoring_plan import ScoringPlan

StageName = Literal["udf", "map"]


def score_frame(
    df: DataFrame,
    plan: ScoringPlan,
    *,
    stage: StageName = "udf",
    keep: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    observe: Callable[[DataFrame, Mapping[str, Column]], DataFrame] | None = None,
    show_model_error: bool = False,
    most_bad: float | None = None,
) -> DataFrame:
    """The table's columns and the plan's output columns. Lazy: runs no job.

    Args:
        df: the table that the plan was made for; its column names are distinct.
        plan: the scoring plan.
        stage: ``udf`` (pandas UDF) or ``map`` (``mapInArrow``); the result is the same.
        keep: the columns of ``df`` to keep, in order; default: all.
        names: other names for output columns.
        observe: called with the table and the policy's conditions before anything else reads it.
        show_model_error: whether the traceback of the model's first error, whose text may hold values, is written
            to the driver's log (``spark_scoring``); over Spark Connect to the worker's.
        most_bad: a share of a task's rows; where more of them are bad, the query fails with ``ManyBadRowsError``.

    Raises:
        OutputError: a kept column is of a type that ``mapInArrow`` cannot carry, where it is needed.

    """
    names = names or {}
    kept = df.columns if keep is None else list(keep)
    check_kept(df.schema, kept, plan, stage)
    internal = InternalNames(df.columns)
    extended = extend(df, plan, internal.prefix)
    is_native = plan.engine == "native"
    through_map = not is_native and (stage == "map" or plan.needs_arrow)
    prepared = prepare(plan, extended, packed=not is_native)
    df = extended.frame if observe is None else observe(extended.frame, prepared.touched)
    months = {c: t for c in kept if through_map and isinstance(t := df.schema[c].dataType, YearMonthIntervalType)}
    passed = [
        (_to_months(c) if c in months else F.col(quote(c))).alias(internal.kept(i))  # mapInArrow takes no odd names
        for i, c in enumerate(kept)
    ]
    if is_native:
        scored, made, error = _through_expressions(df, passed, plan, prepared, internal)
    else:
        job = worker_job(df.sparkSession, plan, prepared.lanes, most_bad, show_model_error=show_model_error)
        scored, made, error = _through_workers(df, passed, job, prepared, internal, through_map=through_map)
    columns = [output_column(o, plan.returns, made, error).alias(names.get(o.name, o.name)) for o in plan.outputs]
    back = [
        (_of_months(internal.kept(i), months[c]) if c in months else F.col(internal.kept(i))).alias(c)
        for i, c in enumerate(kept)
    ]
    return scored.select(*back, *columns)


def check_kept(schema: StructType, kept: Sequence[str], plan: ScoringPlan, stage: StageName) -> None:
    """Refuse columns that would have to travel through ``mapInArrow`` and cannot.

    Raises:
        OutputError: with all of them.

    """
    if stage != "map" and not plan.needs_arrow:
        return
    problems = Gathering()
    for name in kept:
        type_ = schema[name].dataType
        with problems.attempt():
            try:
                if not isinstance(type_, YearMonthIntervalType):
                    to_arrow_type(type_)
            except (PySparkException, NotImplementedError) as error:
                raise OutputError.cannot_travel(name, type_.simpleString(), nested=plan.needs_arrow) from error
    problems.raise_all(OutputError)


def _to_months(column: str) -> Column:
    """A year-month interval as a number: Arrow has no such type in PySpark."""
    return F.expr(f"CAST(CAST({quote(column)} AS INTERVAL MONTH) AS INT)")


def _of_months(column: str, type_: YearMonthIntervalType) -> Column:
    return F.expr(f"CAST(make_ym_interval(0, {quote(column)}) AS {type_.simpleString()})")


_Scored = tuple["DataFrame", "Callable[[str], Column]", "Column"]
"""A table with what its rows were scored to, how a returned field is made of it, and the row's error."""


def _through_expressions(
    df: DataFrame, passed: Sequence[Column], plan: ScoringPlan, prepared: Prepared, internal: InternalNames
) -> _Scored:
    native = native_columns(plan, prepared.values, internal.score)
    raised = F.lit(None).cast("string") if native.raised is None else F.when(native.raised, F.lit(RAISED))
    checked = F.when(prepared.ok, raised).otherwise(prepared.error).alias(internal.error)
    error = F.col(internal.error)
    inner = df.select(*passed, *native.scores, checked)
    return inner, lambda name: F.when(error.isNull(), F.expr(native.fields[name])), error


def _through_workers(
    df: DataFrame,
    passed: Sequence[Column],
    job: WorkerJob,
    prepared: Prepared,
    internal: InternalNames,
    *,
    through_map: bool,
) -> _Scored:
    lanes = [internal.lane(i) for i in range(len(prepared.lanes))]
    inner = df.select(
        *passed,
        *[lane.column.alias(name) for lane, name in zip(prepared.lanes, lanes, strict=True)],
        prepared.ok.alias(internal.ok),
        prepared.error.alias(internal.error),
    )
    if through_map:
        scored, made = _through_map(inner, job, len(passed), internal)
    else:
        scored, made = _through_udf(inner, job, lanes, internal)
    return scored, made, F.coalesce(F.col(internal.error), made("error"))


def _through_udf(
    inner: DataFrame, job: WorkerJob, lanes: Sequence[str], internal: InternalNames
) -> tuple[DataFrame, Callable[[str], Column]]:
    fields = flat_fields(job.plan.returns)

    def score_batches(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        scorer = job.scorer()
        for batch in batches:
            columns = partial(series_columns, job.plan, batch[:-1])
            yield to_pandas(fields, scorer.score(columns, batch[-1].to_numpy(dtype=bool)))
        scorer.finish()

    score_batches.__annotations__ = {"batches": Iterator[tuple[pd.Series, ...]], "return": Iterator[pd.DataFrame]}
    schema = StructType([StructField(name, field_type(type_)) for name, type_ in [*fields, ("error", "string")]])
    # Not deterministic, so that Spark never copies the call into a filter and scores rows twice.
    udf = F.pandas_udf(score_batches, schema).asNondeterministic()  # type: ignore[attr-defined]
    scored = inner.withColumn(internal.result, udf(*[F.col(c) for c in [*lanes, internal.ok]]))
    return scored, lambda name: F.col(f"{internal.result}.{name}")


def _through_map(
    inner: DataFrame, job: WorkerJob, passed: int, internal: InternalNames
) -> tuple[DataFrame, Callable[[str], Column]]:
    """``passed`` columns in front go through; behind them come the lanes, the row's check and its error."""
    fields = flat_fields(job.plan.returns)

    def score_batches(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        scorer = job.scorer()
        for batch in batches:
            *lanes, ok, error = batch.columns[passed:]
            columns = partial(arrow_columns, job.plan, lanes)
            results = to_arrow(fields, scorer.score(columns, ok.to_numpy(zero_copy_only=False)))
            yield pa.RecordBatch.from_arrays([*batch.columns[:passed], error, *results], names=out_names)
        scorer.finish()

    through = [inner.schema[i] for i in range(passed)] + [inner.schema[internal.error]]
    added = [StructField(internal.field(name), field_type(type_)) for name, type_ in fields]
    schema = StructType([*through, *added, StructField(internal.field("model_error"), StringType())])
    out_names = schema.fieldNames()
    scored = inner.mapInArrow(score_batches, schema)
    return scored, lambda name: F.col(internal.field("model_error" if name == "error" else name))
