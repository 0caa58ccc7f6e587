"""A plan of lookups over a table: plain joins, point-in-time joins and functions, round by round.

Rows in are rows out, and the table's own columns stay in their order; the features follow in the order of the
spec. A feature table with several rows for a key is an error, never a multiplied row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructField, StructType

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.feature_tables import read_feature_table
from spark_scoring.errors import first_line
from spark_scoring.features.asof import latest_rows
from spark_scoring.features.asof_join import AsOfJoin
from spark_scoring.features.functions import call_sql
from spark_scoring.plan.lookups import FunctionCall, TableLookup
from spark_scoring.sql import free_prefix, quote, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.plan.lookups import LookupPlan


def add_features(df: DataFrame, plan: LookupPlan, *, checked: bool = False) -> DataFrame:
    """The table with a model's features added. May run jobs that read small feature tables.

    Args:
        df: the table that the plan was made for; its column names are distinct.
        plan: its lookups.
        checked: whether ``check_keys`` has passed; else a key with several rows fails the query that meets it.

    """
    own = df.columns
    prefix = free_prefix("_lookup", [*own, *plan.columns, *(n for t in plan.tables for n in t.schema.fieldNames())])
    for steps in plan.rounds:
        lookups = [step for step in steps if isinstance(step, TableLookup)]
        as_of = [lookup for lookup in lookups if lookup.as_of is not None]
        for lookup in lookups:
            if lookup.as_of is None:
                df = _with_defaults(_joined(df, lookup, prefix, checked=checked), [lookup])
        if as_of:
            df = _with_defaults(latest_rows(df, [_as_of_join(df, lookup) for lookup in as_of], prefix), as_of)
        for step in steps:
            if isinstance(step, FunctionCall):
                df = _called(df, step)
    return df.select(*[F.col(quote(column)) for column in (*own, *plan.columns)])


def schema_with_features(df: DataFrame, plan: LookupPlan) -> StructType:
    """The columns of ``add_features``. Runs no job.

    Raises:
        FeatureTableError: a function does not fit the columns bound to it, or is not known.

    """
    fields = list(df.schema.fields)
    for steps in plan.rounds:
        for step in steps:
            if isinstance(step, TableLookup):
                schema = step.table.schema
                fields += [StructField(f.name, schema[f.column].dataType) for f in step.features]
            else:
                frame = df.sparkSession.createDataFrame([], StructType(fields))
                fields = list(_called(frame, step).schema.fields)
    by_name = {field.name: field for field in fields}
    return StructType([by_name[name] for name in (*df.columns, *plan.columns)])


def check_keys(df: DataFrame, plan: LookupPlan) -> None:
    """Refuse feature tables that have several rows for a key. Runs one job per table, over its keys alone.

    Raises:
        FeatureTableError: names the table and its keys.

    """
    for step in plan.joins:
        if step.as_of is None:
            keys = [F.col(quote(match.column)) for match in step.matches]
            rows = _findable(read_feature_table(df.sparkSession, step.table), step)
            if not rows.groupBy(*keys).count().where("count > 1").isEmpty():
                raise FeatureTableError.duplicate_keys(step.table.name, [m.column for m in step.matches])


def _joined(df: DataFrame, lookup: TableLookup, prefix: str, *, checked: bool) -> DataFrame:
    """One plain lookup: the row of the key, nulls where there is none or the key is null."""
    keys = [f"{prefix}_key{i}" for i in range(len(lookup.matches))]
    rows = _findable(read_feature_table(df.sparkSession, lookup.table), lookup).select(
        *[_cast(m.column, m.cast).alias(key) for m, key in zip(lookup.matches, keys, strict=True)],
        *[F.col(quote(f.column)).alias(f"{prefix}_value{i}") for i, f in enumerate(lookup.features)],
    )
    if not checked:
        rows = _guarded(rows, lookup, keys, prefix)
    same = [_cast(m.source, m.cast) == F.col(key) for m, key in zip(lookup.matches, keys, strict=True)]
    condition = same[0]
    for other in same[1:]:
        condition = condition & other
    values = [F.col(f"{prefix}_value{i}").alias(f.name) for i, f in enumerate(lookup.features)]
    return df.join(rows, condition, "left").select(*[F.col(quote(c)) for c in df.columns], *values)


def _guarded(rows: DataFrame, lookup: TableLookup, keys: Sequence[str], prefix: str) -> DataFrame:
    """Raise on a key's second row; costs no shuffle beside the join's own."""
    number = F.row_number().over(Window.partitionBy(*keys).orderBy(*keys))
    names = ", ".join(match.column for match in lookup.matches)
    message = (
        f"spark_scoring: feature table {lookup.table.name} has several rows for one key ({names}), so that a lookup "
        "would multiply rows; keep one row for each key"
    )
    numbered = rows.withColumn(f"{prefix}_row", number)
    return numbered.where(F.expr(f"CASE WHEN {prefix}_row > 1 THEN raise_error({text(message)}) ELSE true END"))


def _findable(rows: DataFrame, lookup: TableLookup) -> DataFrame:
    """Rows without a null in their key: a null is never found."""
    return rows.where(" AND ".join(f"{quote(match.column)} IS NOT NULL" for match in lookup.matches))


def _cast(column: str, type_: str | None) -> Column:
    return F.col(quote(column)) if type_ is None else F.col(quote(column)).cast(type_)


def _as_of_join(df: DataFrame, lookup: TableLookup) -> AsOfJoin:
    rows = read_feature_table(df.sparkSession, lookup.table)
    return AsOfJoin(lookup, rows, tuple(feature.name for feature in lookup.features))


def _with_defaults(df: DataFrame, lookups: Sequence[TableLookup]) -> DataFrame:
    """Defaults in the place of nulls and NaNs."""
    filled = {}
    for lookup in lookups:
        for feature in lookup.features:
            if feature.default is not None:
                value = quote(feature.name)
                if feature.type in ("float", "double"):
                    value = f"nanvl({value}, CAST(NULL AS {feature.type}))"
                filled[feature.name] = F.expr(f"coalesce({value}, {feature.default_sql})")
    if not filled:
        return df
    return df.select(*[filled[c].alias(c) if c in filled else F.col(quote(c)) for c in df.columns])


def _called(df: DataFrame, call: FunctionCall) -> DataFrame:
    try:
        return df.select("*", F.expr(call_sql(df.sparkSession, call)).alias(call.name))
    except AnalysisException as error:
        raise FeatureTableError.bad_function(call.function, call.name, first_line(error)) from error
