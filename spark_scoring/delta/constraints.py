"""CHECK constraints of an output: whether rows of a run must violate one, whatever else is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.explained import explain, unknown_columns
from spark_scoring.sql import quote, unformatted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import Column, SparkSession
    from pyspark.sql.types import StructField, StructType

RowKind = dict[str, bool]
"""What is known of a kind of rows: columns that are null in all of them (True), or in none of them (False)."""


def must_fail(spark: SparkSession, expression: str, schema: StructType, kind: RowKind) -> bool:
    """Whether no row of this kind passes a constraint; Delta takes null for a failure, too. Runs no job.

    Spark's optimizer decides: over columns of which it knows nothing, a filter that lets no row pass becomes an empty
    relation. What it does not see through, the write decides.
    """
    known = {name.lower(): is_null for name, is_null in kind.items()}
    rows = unknown_columns(spark, schema).select(*[_value(field, known).alias(field.name) for field in schema.fields])
    statement = f"SELECT 1 FROM {{rows}} WHERE ({unformatted(expression)}\n)"  # noqa: S608  the table's own
    return explain(spark, statement, {"rows": rows}).optimized.strip().startswith("LocalRelation <empty>")


def _value(field: StructField, known: Mapping[str, bool]) -> Column:
    """Null, or a value that the optimizer does not know: one that may be null, or one that is not."""
    if known.get(field.name.lower()):
        return F.lit(None).cast(field.dataType)
    unknown = F.col(quote(field.name))
    is_some = known.get(field.name.lower()) is False
    return F.coalesce(unknown, F.lit("").cast(field.dataType)) if is_some else unknown
