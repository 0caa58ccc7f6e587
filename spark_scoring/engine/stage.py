"""The two shells around the worker: a pandas UDF over lanes, and ``mapInArrow`` for whoever needs a map stage.

Both give the same result. In the UDF stage, columns that the model does not read stay in the JVM; in the map
stage they travel through the Python worker as Arrow data and come back as they went. (pandas would not bring
them back so: a BIGINT column with a null loses digits above 2^53, a timestamp in a repeated hour moves.)
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from zipimport import zipimporter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from pyspark.accumulators import AccumulatorParam
from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
    YearMonthIntervalType,
)

from spark_scoring.engine.columns import extend, prepare
from spark_scoring.engine.errors import OutputError
from spark_scoring.engine.inputs import WorkerPlan, build_input, objects
from spark_scoring.engine.native.frame import native_columns
from spark_scoring.engine.native.proof import RAISED
from spark_scoring.engine.results import arrow_type
from spark_scoring.engine.shipping import ModelPlace, place_model
from spark_scoring.errors import Gathering
from spark_scoring.model.types import Array, Map, ModelType, Object, Tensor
from spark_scoring.plan.outputs import BASE_SCORE
from spark_scoring.spark_versions import to_arrow_table
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from pyspark.accumulators import Accumulator
    from pyspark.sql import Column, DataFrame, SparkSession

    from spark_scoring.engine.columns import Lane, Prepared
    from spark_scoring.engine.isolated.process import IsolatedScorer
    from spark_scoring.engine.worker import Scored, Scorer
    from spark_scoring.plan.outputs import OutputColumn, Returned
    from spark_scoring.plan.scoring_plan import ScoringPlan

StageName = Literal["udf", "map"]

_FIELD_TYPES: dict[str, DataType] = {
    "double": DoubleType(),
    "float": FloatType(),
    "long": LongType(),
    "integer": IntegerType(),
    "boolean": BooleanType(),
    "string": StringType(),
    "binary": BinaryType(),
    "datetime": LongType(),  # microseconds on their way, a timestamp at the end
}
"""MLflow type -> Spark's of a returned field."""


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
    internal = _InternalNames(df.columns)
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
        job = _worker_job(df.sparkSession, plan, prepared.lanes, most_bad, show_model_error=show_model_error)
        scored, made, error = _through_workers(df, passed, job, prepared, internal, through_map=through_map)
    columns = [_output_column(o, plan.returns, made, error).alias(names.get(o.name, o.name)) for o in plan.outputs]
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


@dataclass(frozen=True)
class ModelInputs:
    """A table's rows in the driver's memory, as the model is given them."""

    data: Any
    """What the model takes, of the rows that it can take; None where there are none."""
    errors: list[str]
    """Why it cannot take the others: the text of ``scoring_error``, one per row."""
    kept: pa.Table
    """The columns that were kept, of the rows in ``data``."""


def collect_inputs(df: DataFrame, plan: ScoringPlan, keep: Sequence[Column] = ()) -> ModelInputs:
    """What the model would be given for the table: the same casts, brought to the driver. Runs a job.

    Args:
        df: the table that the plan was made for; all its rows must fit into the driver's memory.
        plan: the scoring plan.
        keep: columns to bring along.

    """
    internal = _InternalNames(df.columns)
    extended = extend(df, plan, internal.prefix)
    prepared = prepare(plan, extended)
    kept = [column.alias(internal.kept(i)) for i, column in enumerate(keep)]
    lanes = [lane.column.alias(internal.lane(i)) for i, lane in enumerate(prepared.lanes)]
    table = to_arrow_table(extended.frame.select(*kept, *lanes, prepared.error.alias(internal.error)))
    errors = table.column(internal.error)
    good = table.filter(pa.compute.is_null(errors))
    columns = [
        _arrow_matrix(chunk) if lane.packed else _arrow_values(chunk, lane.type)
        for lane, name in zip(prepared.lanes, (internal.lane(i) for i in range(len(lanes))), strict=True)
        for chunk in [_one_chunk(good.column(name))]
    ]
    return ModelInputs(
        data=build_input(worker_plan(plan, prepared.lanes), columns) if good.num_rows else None,
        errors=[text for text in errors.to_pylist() if text is not None],
        kept=good.select([internal.kept(i) for i in range(len(kept))]),
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


class _InternalNames:
    """Column names that the table does not use."""

    def __init__(self, taken: Sequence[str]) -> None:
        self.prefix = free_prefix("_scoring", taken)
        self.ok = f"{self.prefix}_ok"
        self.error = f"{self.prefix}_error"
        self.result = f"{self.prefix}_result"

    def kept(self, i: int) -> str:
        return f"{self.prefix}_kept{i}"

    def lane(self, i: int) -> str:
        return f"{self.prefix}_lane{i}"

    def score(self, i: int) -> str:
        return f"{self.prefix}_score{i}"

    def field(self, name: str) -> str:
        return f"{self.prefix}_{name}"


def worker_plan(plan: ScoringPlan, lanes: Sequence[Lane]) -> WorkerPlan:
    """What the workers need of a plan whose features travel in these lanes."""
    return WorkerPlan(
        features=tuple((f.name, f.type) for f in plan.features),
        lanes=tuple((lane.type, lane.features, lane.packed) for lane in lanes),
        returns=plan.returns,
        takes=plan.model.takes,
        params=plan.params,
        missing=tuple((f.name, f.missing) for f in plan.features if f.missing != "None"),
        labels=plan.model.labels,
        proven=plan.proven,
    )


def _fields(returns: Sequence[Returned]) -> list[tuple[str, ModelType]]:
    """Flat fields with their types: an array inside the result would cost five times the rest."""
    return [field for returned in returns for field in returned.fields]


def _output_column(
    output: OutputColumn, returns: Sequence[Returned], made: Callable[[str], Column], error: Column
) -> Column:
    """An output column from the worker's fields; lists and structs of a bad row are null as a whole."""
    types = dict(_fields(returns))

    def value(field: str) -> Column:
        return F.timestamp_micros(made(field)) if types[field] == "datetime" else made(field)

    match output.form:
        case "error":
            return error
        case "contributions":
            return F.when(error.isNull() & _is_explained(made), _contributions(output, made))
        case "explained":
            return F.when(_is_explained(made), value(output.fields[0][0]))
        case "value":
            return value(output.fields[0][0])
        case "array":
            return F.when(error.isNull(), F.array(*[value(field) for field, _ in output.fields]))
        case "struct":
            return F.when(error.isNull(), F.struct(*[value(field).alias(name) for field, name in output.fields]))


def _is_explained(made: Callable[[str], Column]) -> Column:
    """Whether the row is one of those of which contributions are told: others have no base score."""
    return ~F.isnan(made(BASE_SCORE))


def _contributions(output: OutputColumn, made: Callable[[str], Column]) -> Column:
    """Name, contribution and code of each feature that contributes, as the worker has ranked them."""
    names, codes = (F.array(*[F.lit(text) for text in texts]) for texts in (output.labels, output.codes))
    half = len(output.fields) // 2
    told = []
    for (place, _), (amount, _) in zip(output.fields[:half], output.fields[half:], strict=True):
        number = made(place).cast("int") + 1
        parts = [F.element_at(names, number).alias("feature"), made(amount).alias("contribution")]
        if output.codes:
            parts.append(F.element_at(codes, number).alias("code"))
        told.append(F.when(made(place).isNotNull(), F.struct(*parts)))
    return F.array_compact(F.array(*told))


@dataclass(frozen=True)
class _WorkerJob:
    """What travels to the workers."""

    place: ModelPlace
    plan: WorkerPlan
    flavor: str
    differences: tuple[str, ...] = ()
    """What the plan says that the model requires and the driver does not have."""
    show_model_error: bool = False
    told: Accumulator[str] | None = None
    """Takes the model's first traceback to the driver; None where there is no way for it."""

    def scorer(self) -> Scorer | IsolatedScorer:
        """For the batches of one task."""
        is_new = not self.place.is_loaded()
        tell = self._tell if self.show_model_error else None
        scorer = self.place.scorer(self.flavor, self.differences, self.plan, tell)
        _ease_next_task(is_new=is_new and self.place.is_loaded())
        return scorer

    def _tell(self, text: str) -> None:
        if self.told is not None:
            self.told.add(text)
        else:
            sys.stderr.write(text)


def _ease_next_task(*, is_new: bool) -> None:
    """Keep two chores of Spark's between the tasks of a worker short: half a second of CPU for each on a slow machine.

    Spark collects garbage: it need not look at the libraries and the model. It has Python look again at all importers
    in its cache, for which Python before 3.12 reads the directory of each archive, 5,000 entries in Spark's own jar:
    the importers of archives that do not change leave the cache, and come back when one is needed.

    Args:
        is_new: whether this task has loaded the model.

    """
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimporter) and importer.archive.endswith((".jar", "/pyspark.zip")):
            del sys.path_importer_cache[path]
    if is_new:
        gc.unfreeze()  # what earlier models have left
        gc.collect()
        gc.freeze()


class _FirstText(AccumulatorParam[str]):
    """Keeps the first text that arrives; in the driver it is logged."""

    def zero(self, value: str) -> str:  # noqa: ARG002  the accumulator's protocol
        return ""

    def addInPlace(self, value1: str, value2: str) -> str:  # noqa: N802  likewise
        return value1 or value2


class _LoggedText(_FirstText):
    def addInPlace(self, value1: str, value2: str) -> str:  # noqa: N802
        if value2 and not value1:
            log_model_error(value2)
        return super().addInPlace(value1, value2)

    def __reduce__(self) -> tuple[type[_FirstText], tuple[()]]:
        """In a worker it logs nothing."""
        return _FirstText, ()


def log_model_error(text: str) -> None:
    """Write a model's traceback, whose text may hold values, to the log."""
    logging.getLogger("spark_scoring").error("the model's first error; its text may hold values\n%s", text)


def _told_texts(spark: SparkSession) -> Accumulator[str] | None:
    return spark.sparkContext.accumulator("", _LoggedText()) if hasattr(spark, "_sc") else None


_Scored = tuple["DataFrame", "Callable[[str], Column]", "Column"]
"""A table with what its rows were scored to, how a returned field is made of it, and the row's error."""


def _through_expressions(
    df: DataFrame, passed: Sequence[Column], plan: ScoringPlan, prepared: Prepared, internal: _InternalNames
) -> _Scored:
    native = native_columns(plan, prepared.values, internal.score)
    raised = F.lit(None).cast("string") if native.raised is None else F.when(native.raised, F.lit(RAISED))
    checked = F.when(prepared.ok, raised).otherwise(prepared.error).alias(internal.error)
    error = F.col(internal.error)
    inner = df.select(*passed, *native.scores, checked)
    return inner, lambda name: F.when(error.isNull(), F.expr(native.fields[name])), error


def _worker_job(
    spark: SparkSession, plan: ScoringPlan, lanes: Sequence[Lane], most_bad: float | None, *, show_model_error: bool
) -> _WorkerJob:
    place = place_model(spark, plan.model.copy, plan.model.environment)
    told = _told_texts(spark) if show_model_error else None
    known = replace(worker_plan(plan, lanes), most_bad=most_bad)
    accepted = tuple(str(difference) for difference in plan.model.differences)
    return _WorkerJob(place, known, plan.model.flavor, accepted, show_model_error, told)


def _through_workers(
    df: DataFrame,
    passed: Sequence[Column],
    job: _WorkerJob,
    prepared: Prepared,
    internal: _InternalNames,
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
    inner: DataFrame, job: _WorkerJob, lanes: Sequence[str], internal: _InternalNames
) -> tuple[DataFrame, Callable[[str], Column]]:
    fields = _fields(job.plan.returns)

    def score_batches(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        scorer = job.scorer()
        for batch in batches:
            columns = partial(_series_columns, job.plan, batch[:-1])
            yield _to_pandas(fields, scorer.score(columns, batch[-1].to_numpy(dtype=bool)))
        scorer.finish()

    score_batches.__annotations__ = {"batches": Iterator[tuple[pd.Series, ...]], "return": Iterator[pd.DataFrame]}
    schema = StructType([StructField(name, _data_type(type_)) for name, type_ in [*fields, ("error", "string")]])
    # Not deterministic, so that Spark never copies the call into a filter and scores rows twice.
    udf = F.pandas_udf(score_batches, schema).asNondeterministic()  # type: ignore[attr-defined]
    scored = inner.withColumn(internal.result, udf(*[F.col(c) for c in [*lanes, internal.ok]]))
    return scored, lambda name: F.col(f"{internal.result}.{name}")


def _through_map(
    inner: DataFrame, job: _WorkerJob, passed: int, internal: _InternalNames
) -> tuple[DataFrame, Callable[[str], Column]]:
    """``passed`` columns in front go through; behind them come the lanes, the row's check and its error."""
    fields = _fields(job.plan.returns)

    def score_batches(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        scorer = job.scorer()
        for batch in batches:
            *lanes, ok, error = batch.columns[passed:]
            columns = partial(_arrow_columns, job.plan, lanes)
            results = _to_arrow(fields, scorer.score(columns, ok.to_numpy(zero_copy_only=False)))
            yield pa.RecordBatch.from_arrays([*batch.columns[:passed], error, *results], names=out_names)
        scorer.finish()

    through = [inner.schema[i] for i in range(passed)] + [inner.schema[internal.error]]
    added = [StructField(internal.field(name), _data_type(type_)) for name, type_ in fields]
    schema = StructType([*through, *added, StructField(internal.field("model_error"), StringType())])
    out_names = schema.fieldNames()
    scored = inner.mapInArrow(score_batches, schema)
    return scored, lambda name: F.col(internal.field("model_error" if name == "error" else name))


def _series_columns(plan: WorkerPlan, batch: Sequence[pd.Series[Any]]) -> list[NDArray[Any]]:
    """A batch's columns, made anew: nobody else holds their memory."""
    return [
        _series_matrix(series) if packed else series.to_numpy(dtype=object, copy=True)
        for series, (_, _, packed) in zip(batch, plan.lanes, strict=True)
    ]


def _arrow_columns(plan: WorkerPlan, lanes: Sequence[pa.Array]) -> list[NDArray[Any]]:
    """A batch's columns, made anew: nobody else holds their memory."""
    return [
        _arrow_matrix(lane) if packed else _arrow_values(lane, type_)
        for lane, (type_, _, packed) in zip(lanes, plan.lanes, strict=True)
    ]


def _series_matrix(series: pd.Series[Any]) -> NDArray[Any]:
    """A Series of equally long arrays as an (n, k) matrix; concatenating costs a third of stacking."""
    arrays = series.to_numpy()
    return np.concatenate(arrays).reshape(len(arrays), -1)


def _arrow_matrix(lists: pa.ListArray) -> NDArray[Any]:
    """An Arrow list column without nulls as an (n, k) matrix."""
    values = lists.flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[Any] = values.reshape(len(lists), -1 if len(lists) else 0)
    return matrix if matrix.flags.writeable else matrix.copy()


def _arrow_values(column: pa.Array, type_: str) -> NDArray[Any]:
    """Values that travel alone, as objects; a map as a list of pairs."""
    values: NDArray[Any] = objects(column.to_pylist()) if type_ == "nested" else column.to_numpy(zero_copy_only=False)
    return values


def _data_type(type_: ModelType) -> DataType:
    """A returned field's type in Spark."""
    match type_:
        case Array():
            return ArrayType(spark_type_of(type_.element))
        case Map():
            return MapType(StringType(), spark_type_of(type_.value))
        case Object():
            return StructType([StructField(m.name, spark_type_of(m.type)) for m in type_.members])
        case Tensor():
            inner = spark_type_of(type_.dtype)
            for _ in type_.shape[1:]:
                inner = ArrayType(inner)
            return inner
        case _:
            return _FIELD_TYPES[str(type_)]


def spark_type_of(type_: ModelType) -> DataType:
    """The Spark type that holds a model's values as they are."""
    return TimestampType() if type_ == "datetime" else _data_type(type_)


def _arrow_type(type_: ModelType) -> pa.DataType:
    return pa.int64() if type_ == "datetime" else arrow_type(type_)


def _to_pandas(fields: Sequence[tuple[str, ModelType]], scored: Scored) -> pd.DataFrame:
    columns = {
        name: _pandas_array(values, null) for (name, _), (values, null) in zip(fields, scored.fields, strict=True)
    }
    return pd.DataFrame({**columns, "error": scored.errors})


def _pandas_array(values: NDArray[Any], null: NDArray[np.bool_]) -> Any:
    """A masked array: with plain float64 a NaN of the model would become a null, and integers would lose digits."""
    match values.dtype.kind:
        case "f":
            return pd.arrays.FloatingArray(values, null)
        case "b":
            return pd.arrays.BooleanArray(values, null)
        case "i":
            return pd.arrays.IntegerArray(values, null)
        case _:
            return values


def _to_arrow(fields: Sequence[tuple[str, ModelType]], scored: Scored) -> list[pa.Array]:
    columns = [
        pa.array(values, type=_arrow_type(type_), mask=null, from_pandas=False)
        for (_, type_), (values, null) in zip(fields, scored.fields, strict=True)
    ]
    return [*columns, pa.array(scored.errors, type=pa.string())]
