"""A training job: a table's rows through the casts that scoring makes, an estimator, and ``register_model``.

What the model is trained on comes through the very casts that score it later, so that a feature means the same
in both, and the frame has only types that a signature can say.
"""

from __future__ import annotations

import pkgutil
import sys
from dataclasses import dataclass
from datetime import timedelta  # noqa: TC003  pydantic wants it when the class is made
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.source import pin_source
from spark_scoring.errors import Gathering, JobError, PlanError, Problem, SourceError, TrainingError, first_line
from spark_scoring.features.client import FeatureLookup, feature_client
from spark_scoring.job import Fields, Job, SourceSettings
from spark_scoring.registration.feature_engineering import log_model_with_feature_engineering
from spark_scoring.registration.flavors import flavor_of
from spark_scoring.registration.metrics import validation_metrics
from spark_scoring.registration.register import RegisteredModel, listed_aliases, register_model, request_problems
from spark_scoring.registration.tasks import Task  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.registration.tracking import ask_registry, experiment_id, in_our_words, logging_at
from spark_scoring.registration.training_rows import read_rows, spark_type
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame, SparkSession


class FeatureColumn(Fields):
    """A feature of a training job."""

    sql: str | None = None
    """SQL expression over the table; default: the column of the feature's name."""
    type: str | None = None
    """Of MLflow's data types, or ``category``; default: a type that holds nulls, by the column's Spark type."""


class LookupSettings(Fields):
    """Features that are looked up in a feature table, when the model is trained and when it scores."""

    table: str
    key: str | tuple[str, ...]
    """Columns of the source, in the order of the feature table's keys."""
    features: tuple[str, ...] | None = None
    """Default: all of its columns but the keys."""
    rename: dict[str, str] = Field(default={})
    as_of: str | None = None
    """A time column of the source: the latest feature row at or before it counts."""
    lookback: timedelta | None = None
    """How old that row may be: ``PT3H``, or seconds."""
    defaults: dict[str, Any] = Field(default={})

    def lookup(self) -> Any:
        """As a feature client takes it."""
        return FeatureLookup(
            self.table,
            list(self.key) if isinstance(self.key, tuple) else self.key,
            feature_names=None if self.features is None else list(self.features),
            rename_outputs=self.rename,
            timestamp_lookup_key=self.as_of,
            lookback_window=self.lookback,
            default_values=self.defaults,
        )


class TrainingJob(Job):
    """What to train on which rows, and how to register it. Every field can be set on the command line."""

    name: str
    """The registered model: catalog.schema.model."""
    task: Task
    source: SourceSettings
    features: tuple[str, ...] | dict[str, str | FeatureColumn] = Field(min_length=1)
    """Columns; or feature -> type, or feature -> ``{sql: ..., type: ...}``."""
    lookups: tuple[LookupSettings, ...] = ()
    """Feature tables that some of the features come from; the model then scores from keys alone."""
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
    examples = _examples(job, source.frame)
    X, y, held_out = examples.X, examples.y, examples.held_out  # noqa: N806  the field's name for it
    model = _fitted(estimator, X[~held_out], None if y is None else y[~held_out])
    metrics = validation_metrics(job.task, model, X[held_out], y[held_out]) if y is not None and held_out.any() else {}
    if job.experiment is not None:
        with logging_at(job.tracking_uri, job.registry_uri) as client, in_our_words("experiment"):
            experiment_id(client, job.experiment, job.artifact_location)
    settings: dict[str, Any] = {
        "name": job.name,
        "task": job.task,
        "flavor": job.flavor,
        "alias": aliases,
        "params": job.params,
        "metrics": {"training_rows": int((~held_out).sum()), **metrics},
        "tags": {"training_data_version": str(source.version), **job.tags},
        "pip_requirements": None if job.pip_requirements is None else list(job.pip_requirements),
        "experiment": job.experiment,
        "tracking_uri": job.tracking_uri,
        "registry_uri": job.registry_uri,
    }
    if examples.training_set is None:
        settings["tags"] = {"training_data": source.ref.text, **settings["tags"]}
        return register_model(model, X[~held_out], **settings)
    client = feature_client(model_registry_uri=job.registry_uri)
    settings |= {"training_set": examples.training_set, "training_data": source.ref.text}
    return log_model_with_feature_engineering(client, model, X[~held_out], **settings)


@dataclass(frozen=True)
class _Examples:
    """What a model is trained and validated on."""

    X: pd.DataFrame
    y: pd.Series[Any] | None
    held_out: NDArray[np.bool_]
    """Rows that only metrics are computed on."""
    training_set: Any
    """The feature client's, where features are looked up."""


def _examples(job: TrainingJob, frame: DataFrame) -> _Examples:
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
            spark_type(frame, f"order_by {sql}", sql)
    problems.raise_all()
    training_set = None
    if job.lookups:
        frame, training_set = _looked_up(job, frame, types, columns, label)
        columns = {}
    rows = frame.orderBy(*[F.expr(sql) for sql in job.order_by]) if job.order_by else frame
    found = read_rows(rows, types, columns, [label, held_out])
    labels, held = (found.kept.column(i).to_pandas() for i in range(2))
    if held.all():
        raise SourceError([Problem("validation", "it holds in every row, and none is left to train on", "narrow it")])
    if job.label is None:
        return _Examples(found.X, None, held.to_numpy(dtype=bool), training_set)
    if labels.isna().any():
        fix = f"leave them out: source: {{where: ({job.label}) IS NOT NULL}}"
        raise PlanError([Problem("label", f"it is null in {int(labels.isna().sum()):,} rows", fix)])
    return _Examples(found.X, labels.rename("label"), held.to_numpy(dtype=bool), training_set)


def _looked_up(
    job: TrainingJob, frame: DataFrame, types: Mapping[str, str | None], columns: Mapping[str, str], label: Column
) -> tuple[DataFrame, Any]:
    """The source with its features looked up, and the training set that the model is logged with.

    The training set has the label, if there is one, and the features alone; they are in its order, which is that of
    the source's own columns, then of the lookups. Types that Databricks leaves out of a signature are cast.
    """
    client = feature_client(model_registry_uri=job.registry_uri)
    lookups = [settings.lookup() for settings in job.lookups]
    own = {name: columns.get(name, quote(name)) for name in types if name in columns or name in frame.columns}
    others = [name for name in frame.columns if name not in own]
    kept = [*[F.col(quote(name)) for name in others], *[_as_feature(frame, name, sql) for name, sql in own.items()]]
    everything = client.create_training_set(df=frame.select(*kept), feature_lookups=lookups, label=None).load_df()
    training_set = client.create_training_set(
        df=frame.select(*kept, *([] if job.label is None else [label.alias(_LABEL)])),
        feature_lookups=lookups,
        label=None if job.label is None else _LABEL,
        exclude_columns=[name for name in everything.columns if name not in types],
    )
    return everything, training_set


def _as_feature(frame: DataFrame, name: str, sql: str) -> Column:
    """A column of the source as a feature, of a type that a signature can say."""
    wanted = _SAYABLE.get(spark_type(frame, name, sql).typeName())
    column = F.expr(sql)
    return (column if wanted is None else column.cast(wanted)).alias(name)


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
    type_ = spark_type(frame, "label", job.label).typeName()
    wanted = _LABEL_TYPES["number" if job.task == "regression" else "label"].get(type_)
    if wanted is None:
        fix = f"cast it: label: CAST({job.label} AS {'DOUBLE' if job.task == 'regression' else 'INT'})"
        raise JobError([Problem("label", f"{type_.upper()} is no label of a {job.task}", fix)])
    return F.expr(job.label).cast(wanted)


def _condition(frame: DataFrame, sql: str | None) -> Column:
    if sql is None:
        return F.lit(False)  # noqa: FBT003
    if spark_type(frame, "validation", sql).typeName() != "boolean":
        raise JobError([Problem("validation", "it is no condition", "write one, such as month = 9")])
    return F.coalesce(F.expr(sql), F.lit(False))  # noqa: FBT003


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


_LABEL = "label"
_SAYABLE = {"decimal": "double", "byte": "int", "timestamp_ntz": "timestamp"}
"""Spark types that drop out of a signature on Databricks -> what holds their values."""
_NUMBERS = ("byte", "short", "integer", "long", "float", "double", "decimal")
_LABEL_TYPES = {
    "number": dict.fromkeys(_NUMBERS, "double"),
    "label": {"boolean": "bigint", **dict.fromkeys(_NUMBERS[:4], "bigint"), "string": "string"},
}
"""Spark type of a label -> the type that it is read as."""
