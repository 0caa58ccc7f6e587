"""What Spark makes of a statement that is not run: its plans, as text. The same on classic Spark and on Connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.settings import session_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_WHOLE_TEXTS = {
    "spark.sql.debug.maxToStringFields": "1000000",
    "spark.sql.maxMetadataStringLength": "1000000",
    "spark.databricks.delta.optimizeMetadataQuery.enabled": "false",  # would put rows that no text shows into the plan
}
_ANALYZED, _OPTIMIZED, _PHYSICAL = (
    f"== {kind} ==" for kind in ("Analyzed Logical Plan", "Optimized Logical Plan", "Physical Plan")
)


@dataclass(frozen=True)
class Plans:
    """The text of EXPLAIN."""

    analyzed: str = ""
    optimized: str = ""
    error: str | None = None
    """What Spark said instead."""


def explain(spark: SparkSession, statement: str, frames: Mapping[str, DataFrame]) -> Plans:
    """Spark's plans of a statement, which names the frames in braces. An error comes as text. Runs no job."""
    text = _text(spark, f"EXPLAIN EXTENDED {statement}", frames)
    _, _, rest = text.partition(_ANALYZED)
    analyzed, _, rest = rest.partition(_OPTIMIZED)
    optimized, _, _ = rest.partition(_PHYSICAL)
    is_whole = all(text.count(header) == 1 for header in (_ANALYZED, _OPTIMIZED, _PHYSICAL))
    if not is_whole or not optimized.strip() or "Exception: [" in text:
        return Plans(error=text)
    return Plans(analyzed, optimized)


def unknown_columns(spark: SparkSession, schema: StructType) -> DataFrame:
    """Columns of which the optimizer knows nothing but their types."""
    columns = [F.first(F.lit(None).cast(field.dataType)).alias(field.name) for field in schema.fields]
    return spark.range(0, 2, 1, 1).agg(*columns)


def _text(spark: SparkSession, statement: str, frames: Mapping[str, DataFrame]) -> str:
    """What a statement gives, or the text of its error; not cut short, where the session may be told so."""
    text = ""
    for settings in (_WHOLE_TEXTS, {}):  # serverless compute takes no settings
        try:
            with session_settings(spark, settings):
                return "\n".join(str(row[0]) for row in spark.sql(statement, None, **frames).collect())
        except PySparkException as error:  # noqa: PERF203  two times at most
            text = str(error)
    return text
