"""A training job: a table's rows through the casts that scoring makes, an estimator, and ``register_model``.

What the model is trained on comes through the very casts that score it later, so that a feature means the same
in both, and the frame has only types that a signature can say.
"""

from __future__ import annotations

import pkgutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.source import pin_source
from spark_scoring.engine.stage import collect_inputs
from spark_scoring.errors import (
    Gathering,
    JobError,
    PlanError,
    Problem,
    SourceError,
    TrainingError,
    first_line,
    near_fix,
)
from spark_scoring.job import Fields, Job, SourceSettings
from spark_scoring.model.categories import given_levels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import DATA_TYPES, Category, Levels, ModelType
from spark_scoring.plan.planner import Expression, Request, make_plan
from spark_scoring.registration.flavors import flavor_of
from spark_scoring.registration.metrics import validation_metrics
from spark_scoring.registration.register import RegisteredModel, listed_aliases, register_model, request_problems
from spark_scoring.registration.tasks import Task  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.registration.tracking import ask_registry, experiment_id, in_our_words, logging_at
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

CATEGORY = "category"
"""A feature's type beside MLflow's: pandas' category, its levels those of the table, sorted."""

_DEFAULT_TYPES = {
    "boolean": "double",
    "byte": "double",
    "short": "double",
    "integer": "double",
    "long": "double",
    "float": "float",
    "double": "double",
    "decimal": "double",
    "string": "string",
    "char": "string",
    "varchar": "string",
    "date": "datetime",
    "timestamp": "datetime",
    "timestamp_ntz": "datetime",
    "binary": "binary",
}
"""Spark type -> the type that a model is trained on where none is named: one that holds a null, since any column of
a table may come to hold one."""
_MOST_LEVELS = 100_000


class FeatureColumn(Fields):
    """A feature of a training job."""

    sql: str | None = None
    """SQL expression over the table; default: the column of the feature's name."""
    type: str | None = None
    """Of MLflow's data types, or ``category``; default: a type that holds nulls, by the column's Spark type."""


class TrainingJob(Job):
    """What to train on which rows, and how to register it. Every field can be set on the command line."""

    name: str
    """The registered model: catalog.schema.model."""
    task: Task
    source: SourceSettings
    features: tuple[str, ...] | dict[str, str | FeatureColumn] = Field(min_length=1)
    """Columns; or feature -> type, or feature -> ``{sql: ..., type: ...}``."""
    label: str | None = None
    """SQL expression over the table; none where the task needs none (anomaly_detection)."""
    order_by: tuple[str, ...] = ()
    """SQL expressions that sort the rows, for models whose result depends on their order."""
    validation: str | None = None
    """SQL condition: rows that metrics are computed on, and that are not trained on."""
    estimator: str
    """``package.module:name`` of a class or function; called with ``params`` it gives something with ``fit(X, y)``."""
    params: dict[str, Any] = Field(default={})
    flavor: str | None = None
    alias: tuple[str, ...] | str = ()
    tags: dict[str, str] = Field(default={})
    pip_requirements: tuple[str, ...] | None = None
    experiment: str | None = None
    artifact_location: str | None = None
    """Where a new experiment keeps its artifacts; default: where the tracking server does."""
    tracking_uri: str | None = None
    registry_uri: str | None = None
    warehouse: str | None = None
    """Folder of a local session's tables; of no effect where a session exists."""


@dataclass(frozen=True)
class TrainingRows:
    """A table's rows as an estimator takes them."""

    X: pd.DataFrame
    kept: pa.Table
    """Columns that were asked for beside the features, row by row."""


def training_frame(
    df: DataFrame, features: Sequence[str] | Mapping[str, str], columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """A table as the frame that a model is trained on, through the casts that will score it. Runs a job.

    Args:
        df: the table; all its rows must fit into the driver's memory.
        features: the features in order, or feature -> type: one of MLflow's data types, or ``category`` (levels are
            the table's, sorted). Without a type, one that can hold a null, by the column's Spark type: numbers and
            booleans are double (FLOAT stays float), dates and times datetime, text string.
        columns: a SQL expression per feature that is no column of the table.

    Raises:
        RequestError: a feature that is not there or cannot be of its type, or rows that the types cannot hold.

    """
    types = features if isinstance(features, Mapping) else dict.fromkeys(features)
    return read_rows(df, types, columns or {}).X


def read_rows(
    df: DataFrame, types: Mapping[str, str | ModelType | None], columns: Mapping[str, str], keep: Sequence[Column] = ()
) -> TrainingRows:
    """As ``training_frame``, with further columns beside the features. Runs a job, and one per category feature.

    Raises:
        RequestError: with every feature that is not there or cannot be of its type; or the rows that do not fit.

    """
    inputs, problems = [], Gathering()
    expressions: dict[str, Expression] = {}
    for name, type_ in types.items():
        with problems.attempt():
            sql = columns.get(name, quote(name))
            source = _spark_type(df, name, sql)
            expressions[name] = Expression(sql, source)
            inputs.append(Feature(name, _model_type(df, name, sql, source, type_)))
    problems.raise_all(PlanError)
    spec = ModelSpec("training", None, None, None, "", "", "python_function", tuple(inputs), "double")
    found = collect_inputs(df, make_plan(spec, df.schema, Request(expressions=expressions)), keep)
    if not found.kept.num_rows and not found.errors:
        raise SourceError([Problem("training rows", "there are none", "check the table and the condition (where)")])
    if found.errors:
        raise PlanError(_row_problems(found.errors, len(found.errors) + found.kept.num_rows))
    return TrainingRows(found.data, found.kept)


def run_training(job: TrainingJob, spark: SparkSession) -> RegisteredModel:
    """Read, fit, compute metrics, register. The rows come into the driver's memory.

    Raises:
        RequestError: the job cannot run as it stands; nothing was trained.
        RegistrationError, VerificationError: see ``register_model``.

    """
    problems = Gathering()
    source = estimator = None
    aliases = listed_aliases(job.alias)
    with problems.attempt():
        estimator = _estimator(job.estimator, job.params)
    with problems.attempt():
        source = pin_source(spark, **job.source.model_dump())
    with problems.attempt(), logging_at(job.tracking_uri, job.registry_uri) as client:
        problems.problems += request_problems(job.name, aliases)
        if not problems.problems:
            if job.flavor is not None:
                flavor_of(estimator, job.flavor)
            ask_registry(client, job.name)
    problems.raise_all()
    assert source is not None  # noqa: S101  else raised above
    X, y, held_out = _examples(job, source.frame)  # noqa: N806  the field's name for it
    model = _fitted(estimator, X[~held_out], None if y is None else y[~held_out])
    metrics = validation_metrics(job.task, model, X[held_out], y[held_out]) if y is not None and held_out.any() else {}
    with logging_at(job.tracking_uri, job.registry_uri) as client:
        if job.experiment is not None:
            with in_our_words("experiment"):
                experiment_id(client, job.experiment, job.artifact_location)
        return register_model(
            model,
            X[~held_out],
            name=job.name,
            task=job.task,
            flavor=job.flavor,
            alias=aliases,
            params=job.params,
            metrics={"training_rows": int((~held_out).sum()), **metrics},
            tags={"training_data": source.ref.text, "training_data_version": str(source.version), **job.tags},
            pip_requirements=None if job.pip_requirements is None else list(job.pip_requirements),
            experiment=job.experiment,
        )


def _examples(job: TrainingJob, frame: DataFrame) -> tuple[pd.DataFrame, pd.Series[Any] | None, NDArray[np.bool_]]:
    """Features, labels, and which rows only metrics are computed on."""
    problems = Gathering()
    types, columns = _features(job)
    label = held_out = F.lit(None)
    with problems.attempt():
        label = _label(job, frame)
    with problems.attempt():
        held_out = _condition(frame, job.validation)
    for sql in job.order_by:
        with problems.attempt():
            _spark_type(frame, f"order_by {sql}", sql)
    problems.raise_all()
    rows = frame.orderBy(*[F.expr(sql) for sql in job.order_by]) if job.order_by else frame
    found = read_rows(rows, types, columns, [label, held_out])
    labels, held = (found.kept.column(i).to_pandas() for i in range(2))
    if held.all():
        raise SourceError([Problem("validation", "it holds in every row, and none is left to train on", "narrow it")])
    if job.label is None:
        return found.X, None, held.to_numpy(dtype=bool)
    if labels.isna().any():
        fix = f"leave them out: source: {{where: ({job.label}) IS NOT NULL}}"
        raise PlanError([Problem("label", f"it is null in {int(labels.isna().sum()):,} rows", fix)])
    return found.X, labels.rename("label"), held.to_numpy(dtype=bool)


def _features(job: TrainingJob) -> tuple[dict[str, str | None], dict[str, str]]:
    """Types and SQL expressions by feature."""
    if not isinstance(job.features, dict):
        return dict.fromkeys(job.features), {}
    settings = {n: FeatureColumn(type=f) if isinstance(f, str) else f for n, f in job.features.items()}
    return {n: f.type for n, f in settings.items()}, {n: f.sql for n, f in settings.items() if f.sql is not None}


def _label(job: TrainingJob, frame: DataFrame) -> Column:
    """The label as the task has it: a double; or text, or a whole number, booleans as 0 and 1."""
    if job.label is None:
        if job.task != "anomaly_detection":
            raise JobError([Problem("label", f"the task {job.task} has one", "add label: <SQL expression>")])
        return F.lit(None).cast("double")
    type_ = _spark_type(frame, "label", job.label).typeName()
    wanted = _LABEL_TYPES["number" if job.task == "regression" else "label"].get(type_)
    if wanted is None:
        fix = f"cast it: label: CAST({job.label} AS {'DOUBLE' if job.task == 'regression' else 'INT'})"
        raise JobError([Problem("label", f"{type_.upper()} is no label of a {job.task}", fix)])
    return F.expr(job.label).cast(wanted)


def _condition(frame: DataFrame, sql: str | None) -> Column:
    if sql is None:
        return F.lit(False)  # noqa: FBT003
    if _spark_type(frame, "validation", sql).typeName() != "boolean":
        raise JobError([Problem("validation", "it is no condition", "write one, such as month = 9")])
    return F.coalesce(F.expr(sql), F.lit(False))  # noqa: FBT003


def _spark_type(df: DataFrame, name: str, sql: str) -> DataType:
    try:
        return df.select(F.expr(sql).alias("v")).schema["v"].dataType
    except (AnalysisException, ParseException) as error:
        if sql == quote(name):
            near = near_fix(name, df.columns, what="columns") or "check the table"
            fix = f"{near}; or give it: {name}: {{sql: <expression>}}"
            raise SourceError([Problem(f"feature {name!r}", "the table has no such column", fix)]) from error
        raise SourceError.bad_expression(name, sql, first_line(error)) from error


def _model_type(df: DataFrame, name: str, sql: str, source: DataType, type_: str | ModelType | None) -> ModelType:
    """The type that was named, else one that holds nulls; a category with the table's levels."""
    if not isinstance(type_, str | None):
        return type_
    if type_ == CATEGORY:
        return Category(_levels(df, name, sql))
    if type_ is None:
        type_ = _DEFAULT_TYPES.get(source.typeName())
        if type_ is None:
            fix = f"name it: {name}: {{sql: <expression>, type: <{', '.join(DATA_TYPES)} or category>}}"
            raise JobError([Problem(f"feature {name!r}", f"no type by default for {source.simpleString()}", fix)])
    if type_ not in DATA_TYPES:
        near = near_fix(type_, [*DATA_TYPES, CATEGORY], what="types") or ""
        raise JobError([Problem(f"feature {name!r}", f"{type_!r} is no type", near)])
    return type_


def _levels(df: DataFrame, name: str, sql: str) -> Levels:
    """The column's distinct values, sorted, so that the levels do not depend on the order of the rows."""
    kind = _spark_type(df, name, sql).typeName()
    if kind not in _LEVEL_TYPES:
        fix = f"cast it: {name}: {{sql: CAST(... AS STRING), type: category}}"
        raise JobError([Problem(f"feature {name!r}", f"{kind.upper()} values are no levels", fix)])
    column = F.expr(sql).alias("level")
    rows = df.select(column).where(F.col("level").isNotNull()).distinct().limit(_MOST_LEVELS + 1).collect()
    values = sorted(row["level"] for row in rows)
    if len(values) > _MOST_LEVELS:
        cause = f"more than {_MOST_LEVELS:,} levels: it looks like an identifier"
        raise SourceError([Problem(f"feature {name!r}", cause, "leave it out, or group its values")])
    if not values:
        raise SourceError([Problem(f"feature {name!r}", "it is null in every row", "leave it out")])
    return given_levels(values, "the table")


def _row_problems(errors: Sequence[str], rows: int) -> list[Problem]:
    """Per feature and reason the rows that its type cannot hold."""
    counts = Counter(part for text in errors for part in text.split("; "))
    fix = "give it a type that holds them (double for numbers and booleans), or leave the rows out"
    return [
        Problem(f"feature {part.split(': ', 1)[0]!r}", f"{n:,} of {rows:,} rows: {part.split(': ', 1)[-1]}", fix)
        for part, n in counts.most_common()
    ]


def _named(path: str) -> Any:
    """The class or function of a dotted path; the working directory is looked in, too, as ``python -m`` does."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    fix = "write package.module:name of a class or function that is installed or lies in the working directory"
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise JobError([Problem(f"estimator {path}", first_line(error), fix)]) from error
    if not callable(found):
        raise JobError([Problem(f"estimator {path}", "it is no class or function", fix)])
    return found


def _estimator(path: str, params: Mapping[str, Any]) -> Any:
    """What is to be fitted, made with its parameters."""
    make = _named(path)
    try:
        estimator = make(**params)
    except Exception as error:  # its own code
        fix = "mend params"
        raise JobError([Problem(f"estimator {path}", f"{type(error).__name__}: {first_line(error)}", fix)]) from error
    if not hasattr(estimator, "fit"):
        cause = f"it gives a {type(estimator).__name__}, which has no fit"
        raise JobError([Problem(f"estimator {path}", cause, "name one that is fitted with fit(X, y)")])
    return estimator


def _fitted(estimator: Any, X: pd.DataFrame, y: pd.Series[Any] | None) -> Any:
    """What ``fit`` returns, else the estimator itself."""
    try:
        fitted = estimator.fit(X) if y is None else estimator.fit(X, y)
    except Exception as error:
        raise TrainingError.fit(type(estimator).__name__, type(error).__name__) from error
    return estimator if fitted is None else fitted


_LEVEL_TYPES = ("boolean", "byte", "short", "integer", "long", "float", "double", "string", "char", "varchar", "date")
_NUMBERS = ("byte", "short", "integer", "long", "float", "double", "decimal")
_LABEL_TYPES = {
    "number": dict.fromkeys(_NUMBERS, "double"),
    "label": {"boolean": "bigint", **dict.fromkeys(_NUMBERS[:4], "bigint"), "string": "string"},
}
"""Spark type of a label -> the type that it is read as."""
