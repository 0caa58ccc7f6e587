"""From a model's feature spec to a plan of lookups over a table: finds the feature tables and pins their versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.feature_tables import find_feature_table
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.errors import Gathering, listed
from spark_scoring.features.functions import known_name, recorded_definition
from spark_scoring.features.join import schema_with_features
from spark_scoring.plan.lookup_planner import lookup_tables, plan_lookups
from spark_scoring.plan.lookups import FunctionCall, TableLookup

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from spark_scoring.model.feature_spec import FeatureSpec
    from spark_scoring.plan.lookups import FeatureTable, LookupPlan, Step


def plan_features(df: DataFrame, spec: FeatureSpec) -> tuple[LookupPlan, StructType]:
    """How a model's features are found for a table, and the columns that it then has. Reads no rows.

    Raises:
        RequestError: with every problem: feature tables, keys and features that are missing or of another type.

    """
    spark = df.sparkSession
    fold = is_case_sensitive(spark)
    problems = Gathering()
    tables: dict[str, FeatureTable] = {}
    for name in lookup_tables(spec, df.schema, case_sensitive=fold):
        with problems.attempt():
            tables[name] = _with_recorded_keys(find_feature_table(spark, name), spec)
    plan = schema = None
    with problems.attempt():
        plan = plan_lookups(spec, df.schema, tables, case_sensitive=fold)
    problems.raise_all()
    assert plan is not None  # noqa: S101  else its problems were raised
    plan = replace(plan, rounds=tuple(tuple(_as_called(spark, step) for step in steps) for steps in plan.rounds))
    with problems.attempt():
        _check_defaults(spark, plan)
    with problems.attempt():
        schema = schema_with_features(df, plan)
    problems.raise_all()
    assert schema is not None  # noqa: S101
    return plan, schema


def _as_called(spark: SparkSession, step: Step) -> Step:
    """A function with the text by which this session calls it: another text is another plan."""
    if isinstance(step, FunctionCall) and known_name(spark, step.function) is not None:
        return replace(step, definition=recorded_definition(spark, step.function))
    return step


def _with_recorded_keys(table: FeatureTable, spec: FeatureSpec) -> FeatureTable:
    """The table with its keys in the order that was recorded with the model: its lookups match them by place.

    Raises:
        FeatureTableError: the table has other keys now.

    """
    recorded = spec.table(table.name)
    if not recorded.primary_keys:
        return table
    trained = replace(table, primary_keys=recorded.primary_keys, timeseries_column=recorded.timeseries_column)
    if table.primary_keys is not None and _key_names(table) != _key_names(trained):
        raise FeatureTableError.other_keys(table.name, _keys_text(table), _keys_text(trained))
    return trained


def _key_names(table: FeatureTable) -> tuple[frozenset[str], str]:
    """A table's keys without an order, and its time; Delta's names know no case."""
    return frozenset(key.lower() for key in table.primary_keys or ()), (table.timeseries_column or "").lower()


def _keys_text(table: FeatureTable) -> str:
    time = f", by the time {table.timeseries_column}" if table.timeseries_column else ""
    return f"{listed(table.primary_keys or ())}{time}"


def _check_defaults(spark: SparkSession, plan: LookupPlan) -> None:
    """Refuse defaults that their feature's type cannot hold; asks Spark, which reads no table for it."""
    problems = Gathering()
    for step in plan.steps:
        for feature in step.features if isinstance(step, TableLookup) else ():
            with problems.attempt():
                default = feature.default_sql
                if default is not None and not _is_value(spark, default):
                    raise FeatureTableError.bad_default(feature.name, feature.type)
    problems.raise_all()


def _is_value(spark: SparkSession, cast: str) -> bool:
    """Whether a cast of a constant gives a value; refused casts raise, under ANSI rules when they are made."""
    try:
        return not spark.sql(f"SELECT try_{cast} IS NULL AS bad").collect()[0]["bad"]
    except AnalysisException:
        return False
