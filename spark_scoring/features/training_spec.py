"""The feature spec of a training set: its table's columns, its lookups and functions, as a model records them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.feature_tables import find_feature_table, row_keys
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.errors import Gathering
from spark_scoring.features.functions import recorded_definition
from spark_scoring.features.lookups import FeatureFunction, FeatureLookup
from spark_scoring.model.feature_spec import FeatureSpec, FunctionColumn, InputTable, LookupColumn, SourceColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.model.feature_spec import SpecColumn
    from spark_scoring.plan.lookups import FeatureTable


def training_spec(
    spark: SparkSession,
    df: DataFrame,
    lookups: Sequence[FeatureLookup | FeatureFunction],
    labels: Sequence[str],
    excluded: Sequence[str],
) -> FeatureSpec:
    """The feature spec of a training set, without types."""
    problems = Gathering()
    columns: list[SpecColumn] = [SourceColumn(name) for name in df.columns if name not in labels]
    tables: dict[str, InputTable] = {}
    definitions = []
    for label in labels:
        with problems.attempt():
            if label not in df.columns:
                raise FeatureTableError.no_column(label, df.columns, setting="label")
    for lookup in lookups:
        with problems.attempt():
            if isinstance(lookup, FeatureLookup):
                table = find_feature_table(spark, lookup.table_name)
                _add_table(tables, table, lookup)
                columns += _looked_up(table, lookup)
            elif isinstance(lookup, FeatureFunction):
                bindings = tuple(lookup.input_bindings.items())
                columns.append(FunctionColumn(lookup.name, lookup.udf_name, bindings))
                definitions.append(recorded_definition(spark, lookup.udf_name))
            else:
                raise FeatureTableError.not_a_lookup(type(lookup).__name__)
    names = [column.name for column in columns]
    fold = str if is_case_sensitive(spark) else str.lower
    own = {fold(name) for name in df.columns}
    seen: set[str] = set()
    for column in columns:
        name = fold(column.name)
        if not isinstance(column, SourceColumn) and (name in own or name in seen):
            with problems.attempt():
                raise FeatureTableError.name_twice(column.name, in_table=name in own)
        seen.add(name)
    for name in excluded:
        with problems.attempt():
            if name not in names:
                raise FeatureTableError.no_column(name, names, setting="exclude_columns")
    problems.raise_all()
    kept = tuple(replace(column, include=column.name not in excluded) for column in columns)
    return FeatureSpec(kept, tuple(tables.values()), tuple(d for d in definitions if d is not None))


def _add_table(tables: dict[str, InputTable], table: FeatureTable, lookup: FeatureLookup) -> None:
    window = lookup.lookback_window
    entry = InputTable(
        name=table.name,
        table_id=table.table_id,
        lookback_seconds=None if window is None else window.total_seconds(),
        primary_keys=table.primary_keys or (),
        timeseries_column=table.timeseries_column,
    )
    if tables.setdefault(table.name, entry) != entry:
        cause = "two lookups in it have different lookback windows, and the format knows one for each table"
        thing = f"feature table {table.name}"
        raise FeatureTableError.bad_lookup(thing, cause, "give both the same one")


def _looked_up(table: FeatureTable, lookup: FeatureLookup) -> list[SpecColumn]:
    """The lookup's columns; a table's keys are not features unless they are asked for."""
    keys = () if table.primary_keys is None else row_keys(table)
    names = lookup.names or [name for name in table.schema.fieldNames() if name not in keys]
    for setting, given in (("default_values", lookup.default_values), ("rename_outputs", lookup.rename_outputs)):
        if stray := [name for name in given if name not in names]:
            raise FeatureTableError.no_column(stray[0], names, setting=f"{setting} of {table.name}")
    return [
        LookupColumn(
            name=lookup.rename_outputs.get(name, name),
            table=table.name,
            feature=name,
            lookup_key=lookup.keys,
            timestamp_lookup_key=lookup.time,
            default=_text(lookup.default_values[name]) if name in lookup.default_values else None,
        )
        for name in names
    ]


def _text(value: Any) -> str | None:
    """A default as the format has it; a time without a zone is UTC, whatever the session's is."""
    if value is None:
        return None
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=dt.timezone.utc)
    return str(value).lower() if isinstance(value, bool) else str(value)
