"""The feature engineering client that works without Databricks: the same methods over Delta tables and MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.feature_tables import (
    check_rows,
    create_feature_table,
    drop_feature_table,
    find_feature_table,
    merge_rows,
    read_feature_table,
    replace_rows,
)
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.delta.stored import schema_of_new_table
from spark_scoring.engine.errors import OutputError
from spark_scoring.engine.rehearsal import rehearsed
from spark_scoring.engine.stage import score_frame
from spark_scoring.features.join import add_features
from spark_scoring.features.planning import plan_features
from spark_scoring.features.training_set import TrainingSet, example_rows
from spark_scoring.features.training_spec import training_spec
from spark_scoring.model.errors import ModelError
from spark_scoring.model.feature_model import log_feature_model, log_plain_model
from spark_scoring.model.feature_spec import with_types
from spark_scoring.model.mlflow_servers import mlflow_at
from spark_scoring.model.reading import read_spec
from spark_scoring.model.registry import resolve_model
from spark_scoring.plan.lookups import FeatureTable
from spark_scoring.plan.outputs import ERROR_COLUMN, METHODS
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.request import Request
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

    from spark_scoring.features.lookups import FeatureFunction, FeatureLookup

_NUMBERS = ("boolean", "tinyint", "smallint", "int", "bigint", "float", "double")
"""Each is held by those behind it, to the nearest value; double by float, too."""


class LocalFeatureClient:
    """Databricks' FeatureEngineeringClient for everywhere else: feature tables are Delta tables of the session.

    Its methods take the same keywords and write the same artifacts. What differs, and why, is in
    docs/features.md.
    """

    def __init__(self, *, model_registry_uri: str | None = None, warehouse: str | None = None) -> None:
        self._registry = model_registry_uri
        self._warehouse = warehouse

    @property
    def spark(self) -> SparkSession:
        """The session that is there, else a local one."""
        return get_session(self._warehouse)

    def create_table(
        self,
        *,
        name: str,
        primary_keys: str | Sequence[str],
        df: DataFrame | None = None,
        timeseries_column: str | None = None,
        partition_columns: str | Sequence[str] | None = None,
        schema: StructType | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> FeatureTable:
        """Make a feature table, with the rows of ``df`` if it is given.

        Args:
            name: its name.
            primary_keys: the columns that tell its rows apart; with ``timeseries_column`` or without.
            df: its first rows, whose columns are the table's unless ``schema`` is given.
            timeseries_column: the column of the time from which on a row's values are known.
            partition_columns: columns by which its files are partitioned.
            schema: its columns.
            description: a comment on the table.
            tags: table properties.

        Raises:
            FeatureTableError: it exists, or its rows do not fit.
            Exception: whatever Spark raised while it computed the rows; no table is left behind.

        """
        columns = schema or (df.schema if df is not None else None)
        if columns is None:
            raise FeatureTableError.no_schema(name)
        keys = tuple(key for key in _listed(primary_keys) if key != timeseries_column)
        if not keys:
            raise FeatureTableError.empty_key(name)
        if df is not None:
            _refuse_stream(df, f"rows of feature table {name}")
            planned = FeatureTable(
                name,
                schema_of_new_table(columns),
                "",
                primary_keys=keys,
                timeseries_column=timeseries_column,
                partitions=_listed(partition_columns),
            )
            check_rows(planned, df)
        table = create_feature_table(
            self.spark,
            name,
            columns,
            primary_keys=keys,
            timeseries_column=timeseries_column,
            partition_columns=_listed(partition_columns),
            description=description,
            tags=tags,
        )
        if df is not None:
            try:
                merge_rows(self.spark, table, df)
            except Exception:
                drop_feature_table(self.spark, table)
                raise
        return table

    def write_table(self, *, name: str, df: DataFrame, mode: str = "merge") -> None:
        """Write rows into a feature table. Runs jobs.

        Args:
            name: the table's name.
            df: the rows; every key once, none null.
            mode: ``merge`` (rows of known keys are updated, others inserted) or ``overwrite`` (all rows replaced).

        Raises:
            FeatureTableError: the rows do not fit; nothing was written.

        """
        if mode not in ("merge", "overwrite"):
            raise FeatureTableError.bad_mode(mode)
        _refuse_stream(df, f"rows of feature table {name}")
        table = find_feature_table(self.spark, name)
        check_rows(table, df)
        if mode == "merge":
            merge_rows(self.spark, table, df)
        else:
            replace_rows(self.spark, table, df)

    def read_table(self, *, name: str) -> DataFrame:
        """A feature table's rows, as they are now."""
        return read_feature_table(self.spark, find_feature_table(self.spark, name))

    def create_training_set(
        self,
        *,
        df: DataFrame,
        feature_lookups: Sequence[FeatureLookup | FeatureFunction],
        label: str | Sequence[str] | None,
        exclude_columns: Sequence[str] | None = None,
    ) -> TrainingSet:
        """Plan a table with its features. Reads no rows.

        Args:
            df: keys, times, the label and further columns.
            feature_lookups: lookups and functions, in the order that the features are to have.
            label: what is to be predicted; None where there is nothing to learn from.
            exclude_columns: columns, mostly keys, that the model is not to be given.

        Raises:
            RequestError: with every problem of names, types and tables.

        """
        _refuse_stream(df, "df")
        labels = _listed(label)
        spec = training_spec(self.spark, df, feature_lookups, labels, _listed(exclude_columns))
        features = df.drop(*labels)
        plan, schema = plan_features(features, spec)
        types = {field.name: field.dataType.simpleString() for field in schema.fields}
        return TrainingSet(df, with_types(spec, types), plan, labels)

    def log_model(
        self,
        *,
        model: Any,
        artifact_path: str,
        flavor: ModuleType,
        training_set: TrainingSet | None = None,
        registered_model_name: str | None = None,
        await_registration_for: int = 300,
        infer_input_example: bool = False,
        output_schema: Any | None = None,
        **kwargs: Any,
    ) -> Any:
        """Log a model with where its features come from, so that it is scored from keys alone.

        Args:
            model: what the flavor's ``save_model`` takes.
            artifact_path: the logged model's name.
            flavor: an MLflow flavor's module, such as ``mlflow.sklearn``.
            training_set: what it was trained on; None logs it by its flavor alone.
            registered_model_name: registers it under this name.
            await_registration_for: seconds to wait for the registered version.
            infer_input_example: take the training set's first rows as the raw model's input example, which gives it
                a signature of what it is trained on and returns. Runs a job.
            output_schema: what the model returns; default: its signature's outputs, else the label's type.
            **kwargs: of the flavor's ``save_model`` for the raw model (``signature``, ``input_example``,
                ``metadata``, ``pip_requirements``, ...).

        Returns:
            MLflow's ModelInfo: run id, model URI, registered version.

        """
        registered = {"registered_model_name": registered_model_name, "await_registration_for": await_registration_for}
        with mlflow_at(None, self._registry):
            if training_set is None:
                options = {**registered, **kwargs}
                return log_plain_model(model, artifact_path=artifact_path, flavor=flavor, options=options)
            saving = dict(kwargs)
            if infer_input_example and "input_example" not in saving:
                saving["input_example"] = example_rows(training_set)
            label = next(iter(training_set.label), None)
            return log_feature_model(
                model,
                artifact_path=artifact_path,
                flavor=flavor,
                spec=training_set.spec,
                label_type=None if label is None else training_set.df.schema[label].dataType.simpleString(),
                output_schema=output_schema,
                logging=registered,
                saving=saving,
            )

    def score_batch(
        self,
        *,
        model_uri: str,
        df: DataFrame,
        result_type: str | DataType = "double",
        env_manager: str = "local",
        params: Mapping[str, Any] | None = None,
    ) -> DataFrame:
        """The table with its features, ``prediction`` and ``scoring_error``; scored on its first action.

        Columns that the table has itself are not looked up. Small feature tables are read now.

        Args:
            model_uri: the model, logged with a training set or without.
            df: keys and whatever else is not looked up.
            result_type: the prediction's Spark type; it must be able to hold the model's.
            env_manager: only ``local``.
            params: inference parameters of the model's signature.

        Raises:
            RequestError: the model cannot score this table, with every reason.

        """
        if env_manager != "local":
            raise ModelError.no_environments(env_manager)
        _refuse_stream(df, "df")
        spec = read_spec(resolve_model(model_uri, registry_uri=self._registry))
        lookups = None
        schema = df.schema
        if spec.features is not None:
            lookups, schema = plan_features(df, spec.features)
        prediction = METHODS["predict"]
        fold = str if is_case_sensitive(df.sparkSession) else str.lower
        taken = {fold(name) for name in schema.fieldNames()}
        for name in (prediction, ERROR_COLUMN):
            if name in taken:
                raise OutputError.name_taken(name)
        request = Request(params=params or {}, case_sensitive=is_case_sensitive(df.sparkSession), lookups=lookups)
        plan = rehearsed(make_plan(spec, schema, request), policy=request.policy)
        _check_result_type(plan.outputs[0].type, result_type)
        rows = df if lookups is None else add_features(df, lookups)
        scored = score_frame(rows, plan)
        return scored.withColumn(prediction, F.col(prediction).cast(result_type))


def _check_result_type(own: str, wanted: str | DataType) -> None:
    """Refuse a type that would lose the prediction, not only digits of it."""
    text = (wanted if isinstance(wanted, str) else wanted.simpleString()).lower().replace(" ", "")
    text = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint"}.get(text, text)
    holds = own in _NUMBERS and text in _NUMBERS[_NUMBERS.index(own) :]
    if not (text in (own, "string") or holds or (own, text) == ("double", "float")):
        raise ModelError.result_type(own, text)


def _refuse_stream(df: DataFrame, thing: str) -> None:
    if df.isStreaming:
        raise FeatureTableError.streaming(thing)


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
