"""A training job: a table's rows through the casts that scoring makes, an estimator, and ``register_model``.

What the model is trained on comes through the very casts that score it later, so that a feature means the same
in both, and the frame has only types that a signature can say.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta  # noqa: TC003  pydantic wants it when the class is made
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.source import pin_source
from spark_scoring.engine.process import Where  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.errors import Gathering
from spark_scoring.features.client import FeatureLookup, feature_client
from spark_scoring.job_reading import Job
from spark_scoring.job_settings import Fields, Listed, SourceSettings, SparkSettings
from spark_scoring.model.registry import check_servers
from spark_scoring.registration.examples import columns_beside, examples_of
from spark_scoring.registration.feature_engineering import log_model_with_feature_engineering
from spark_scoring.registration.fitting import fitting_of
from spark_scoring.registration.flavors import flavor_of
from spark_scoring.registration.metrics import validation_metrics
from spark_scoring.registration.register import RegisteredModel, listed_aliases, register_model, request_problems
from spark_scoring.registration.saving import missing_paths
from spark_scoring.registration.tasks import Task  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.registration.tracking import ask_registry, experiment_id, in_our_words, logging_at
from spark_scoring.registration.training_rows import read_rows, spark_type
from spark_scoring.session import unheeded
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame, SparkSession

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.registration.examples import Examples
    from spark_scoring.registration.fitting import Fitted, Fitting


class FeatureColumn(Fields):
    """A feature of a training job."""

    takes = "a mapping such as {sql: price * 2, type: double}"

    sql: str | None = None
    """SQL expression over the table; default: the column of the feature's name."""
    type: str | None = None
    """Of MLflow's data types, or ``category``; default: a type that holds nulls, by the column's Spark type."""


class LookupSettings(Fields):
    """Features that are looked up in a feature table, when the model is trained and when it scores."""

    table: str
    """The feature table's name."""
    key: str | tuple[str, ...]
    """Columns of the source, in the order of the feature table's keys."""
    features: Annotated[tuple[str, ...] | None, Listed] = None
    """Default: all of its columns but the keys."""
    rename: dict[str, str] = Field(default={})
    """Other names for looked-up features, such as ``{temp: temperature}``."""
    as_of: str | None = None
    """A time column of the source: the latest feature row at or before it counts."""
    lookback: timedelta | None = None
    """How old that row may be: ``PT3H``, or seconds."""
    defaults: dict[str, Any] = Field(default={})
    """Feature -> value where the lookup finds nothing or a null."""

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

    sql_fields = (
        "source.where",
        "label",
        "weights",
        "groups",
        "order_by",
        "order_by.*",
        "validation",
        "features.*.sql",
    )

    name: str
    """The registered model: catalog.schema.model."""
    task: Task
    """What the model is for: it decides the output type of the signature."""
    source: SourceSettings
    """The rows to train on."""
    features: Annotated[tuple[str, ...] | dict[str, str | FeatureColumn], Listed] = Field(
        min_length=1, description="columns, such as [price, visits], or types by name, such as {price: double}"
    )
    """Columns; or feature -> type, or feature -> ``{sql: ..., type: ...}``."""
    lookups: tuple[LookupSettings, ...] = ()
    """Feature tables that some of the features come from; the model then scores from keys alone."""
    label: str | None = None
    """SQL expression over the table; none where the task needs none (anomaly_detection, clustering)."""
    weights: str | None = None
    """SQL expression: what each row counts, in training and in metrics; a number >= 0."""
    groups: str | None = None
    """SQL expression: the query that a row is of, for rankers; or what a search's ``cv`` keeps together. Rows are
    sorted by it."""
    order_by: Annotated[tuple[str, ...], Listed] = ()
    """SQL expressions that sort the rows, for models whose result depends on their order."""
    validation: str | None = None
    """SQL condition: rows that metrics are computed on, and that are not trained on."""
    estimator: str
    """``package.module:name`` of a class or function; called with ``params`` it gives something with ``fit(X, y)``."""
    params: dict[str, Any] = Field(default={})
    """Keywords of the estimator."""
    early_stopping: int | None = Field(default=None, ge=1)
    """Rounds without a better result on the validation rows, after which boosting stops."""
    search: dict[str, Any] | None = None
    """``space``: parameter -> values to try; ``class``: GridSearchCV (default), another search of scikit-learn, or
    ``package.module:name``; all else are its keywords, such as ``cv``, ``scoring``, ``n_iter``. The best estimator is
    registered."""
    code_paths: Annotated[tuple[str, ...], Listed] = ()
    """Files and folders of the training code that the model needs when it scores; they are logged with it."""
    verify: Where = "apart"
    """Where the logged model is loaded and tried: in a process of its own, or in the job's, which is faster."""
    flavor: str | None = None
    """MLflow's flavor; default: found from the model's class."""
    alias: tuple[str, ...] | str = ()
    """One or more aliases for the new version."""
    tags: dict[str, str] = Field(default={})
    """Tags of the run and the version."""
    pip_requirements: Annotated[tuple[str, ...] | None, Listed] = None
    """Requirements of the model; default: those that MLflow finds, pinned."""
    experiment: str | None = None
    """The experiment's name; default: MLflow's current one. It is made where it is missing."""
    artifact_location: str | None = None
    """Where a new experiment keeps its artifacts; default: where the tracking server does."""
    tracking_uri: str | None = None
    """MLflow's tracking server; default: MLflow's own setting."""
    registry_uri: str | None = None
    """MLflow's registry; default: MLflow's own setting."""
    warehouse: str | None = None
    """Folder of a local session's tables; of no effect where a session exists."""
    spark: SparkSettings = Field(default={})
    """Settings of a session that the job starts, as in a scoring job."""


def run_training(job: TrainingJob, spark: SparkSession) -> RegisteredModel:
    """Read, fit, compute metrics, register. The rows come into the driver's memory.

    Raises:
        RequestError: the job cannot run as it stands; nothing was trained.
        ModelError: it names a server that the environment does not allow.
        TrainingError: the estimator could not be fitted; nothing was logged.
        RegistrationError, VerificationError: see ``register_model``.

    """
    check_servers(f"models:/{job.name}", job.tracking_uri, job.registry_uri)  # what is logged there is loaded again
    source, fitting, notes = _prepared(job, spark)
    examples, held_out, training_set = _examples(job, source.frame)
    train, validation = examples.where(~held_out), examples.where(held_out)
    fitting.check(train, validation)
    with logging_at(job.tracking_uri, job.registry_uri):  # autologging would make runs of its own
        fitted = fitting.fit(train, validation)
        metrics = validation_metrics(job.task, fitted.model, validation) if held_out.any() else {}
    if job.experiment is not None:
        with logging_at(job.tracking_uri, job.registry_uri) as client, in_our_words("experiment"):
            experiment_id(client, job.experiment, job.artifact_location)
    registered = _registered(job, source, fitted, train, metrics, training_set)
    return replace(registered, notes=(*notes, *registered.notes))


def _prepared(job: TrainingJob, spark: SparkSession) -> tuple[PinnedSource, Fitting, list[str]]:
    """The source, how the estimator is fitted, and notes on the session; all that can be wrong is told at once."""
    problems = Gathering()
    source = fitting = None
    notes: list[str] = []
    with problems.attempt():
        notes = unheeded(spark, job.spark)
    problems.problems += missing_paths("code_paths", job.code_paths)
    with problems.attempt():
        fitting = fitting_of(job)
    with problems.attempt():
        source = pin_source(spark, **job.source.model_dump())
    with problems.attempt(), logging_at(job.tracking_uri, job.registry_uri) as client:
        problems.problems += request_problems(job.name, listed_aliases(job.alias))
        if not problems.problems and fitting is not None:
            if job.flavor is not None:
                flavor_of(fitting.estimator, job.flavor)
            ask_registry(client, job.name)
    problems.raise_all()
    assert source is not None and fitting is not None  # noqa: S101, PT018  else raised above
    return source, fitting, notes


def _registered(
    job: TrainingJob,
    source: PinnedSource,
    fitted: Fitted,
    train: Examples,
    metrics: Mapping[str, float],
    training_set: Any,
) -> RegisteredModel:
    """The model's version; of one with a training set, its lookups travel with it."""
    settings: dict[str, Any] = {
        "name": job.name,
        "task": job.task,
        "flavor": job.flavor,
        "alias": listed_aliases(job.alias),
        "params": {**job.params, **fitted.params},
        "metrics": {"training_rows": len(train.X), **metrics, **fitted.metrics},
        "tags": {**({} if source.version is None else {"training_data_version": str(source.version)}), **job.tags},
        "pip_requirements": None if job.pip_requirements is None else list(job.pip_requirements),
        "experiment": job.experiment,
        "tracking_uri": job.tracking_uri,
        "registry_uri": job.registry_uri,
        "verify": job.verify,
        "options": {"code_paths": list(job.code_paths)} if job.code_paths else None,
    }
    if training_set is None:
        settings["tags"] = {"training_data": source.ref.text, **settings["tags"]}
        return register_model(fitted.model, train.X, **settings)
    client = feature_client(model_registry_uri=job.registry_uri)
    settings |= {"training_set": training_set, "training_data": source.ref.text}
    return log_model_with_feature_engineering(client, fitted.model, train.X, **settings)


def _examples(job: TrainingJob, frame: DataFrame) -> tuple[Examples, NDArray[np.bool_], Any]:
    """The rows, which of them only metrics are computed on, and the training set where features are looked up."""
    problems = Gathering()
    types, columns = _features(job)
    texts = {"label": job.label, "weights": job.weights, "groups": job.groups}
    beside = None
    with problems.attempt():
        beside = columns_beside(frame, job.task, validation=job.validation, **texts)
    for sql in job.order_by:
        with problems.attempt():
            spark_type(frame, f"order_by {sql}", sql)
    problems.raise_all()
    assert beside is not None  # noqa: S101  else raised above
    kept, order = list(beside), [F.expr(sql) for sql in job.order_by]
    training_set = None
    if job.lookups:
        frame, training_set = _looked_up(job, frame, types, columns, [*kept, *order])
        columns = {}
        mine = [F.col(_beside(i)) for i in range(len(kept) + len(order))]
        kept, order = mine[: len(kept)], mine[len(kept) :]
    found = read_rows(frame.orderBy(*order) if order else frame, types, columns, kept)
    return *examples_of(found, job.task, **texts), training_set


def _looked_up(
    job: TrainingJob,
    frame: DataFrame,
    types: Mapping[str, str | None],
    columns: Mapping[str, str],
    beside: Sequence[Column],
) -> tuple[DataFrame, Any]:
    """The source with its features looked up, and the training set that the model is logged with.

    The training set has the label, if there is one, and the features alone; they are in its order, which is that of
    the source's own columns, then of the lookups. Types that Databricks leaves out of a signature are cast. What
    stands beside the features is of the source's columns, before features take their names.
    """
    client = feature_client(model_registry_uri=job.registry_uri)
    lookups = [settings.lookup() for settings in job.lookups]
    own = {name: columns.get(name, quote(name)) for name in types if name in columns or name in frame.columns}
    others = [name for name in frame.columns if name not in own]
    kept = [*[F.col(quote(name)) for name in others], *[_as_feature(frame, name, sql) for name, sql in own.items()]]
    mine = [column.alias(_beside(i)) for i, column in enumerate(beside)]
    everything = client.create_training_set(
        df=frame.select(*kept, *mine), feature_lookups=lookups, label=None
    ).load_df()
    training_set = client.create_training_set(
        df=frame.select(*kept, *([] if job.label is None else [beside[0].alias(_LABEL)])),
        feature_lookups=lookups,
        label=None if job.label is None else _LABEL,
        exclude_columns=[n for n in everything.columns if n not in types and n not in map(_beside, range(len(mine)))],
    )
    return everything, training_set


def _beside(i: int) -> str:
    return f"__spark_scoring_beside_{i}"


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


_LABEL = "label"
_SAYABLE = {"decimal": "double", "byte": "int", "timestamp_ntz": "timestamp"}
"""Spark types that drop out of a signature on Databricks -> what holds their values."""
