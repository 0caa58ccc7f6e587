"""What a session knows of functions: Spark's own, those made of SQL with their text, others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException

from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

_OF_SPARK = ("org.apache.spark.sql.catalyst.", "com.databricks.sql.")
"""Packages of the classes of Spark's own functions."""
_DECISIVE = (
    "sqlFunction.inputParam",
    "sqlFunction.returnType",
    "sqlFunction.expression",
    "sqlConfig.spark.sql.session.timeZone",
    "sqlConfig.spark.sql.ansi.",
    "sqlConfig.spark.sql.legacy.",
)
"""Of a SQL function's description: what decides its values, with the settings that it was made under."""
_OF_SESSION = ("referredTempVariableNames", "referredTempViewNames")


@dataclass(frozen=True)
class FunctionText:
    """What is known of what a function does."""

    is_of_spark: bool = False
    body: str | None = None
    """Of a SQL function: its expression."""
    text: str = ""
    """Of a SQL function: all that decides what it gives."""
    home: tuple[str, ...] = ()
    """Catalog and schema of a SQL function that is kept: functions in its body are looked for there."""
    reads_session: bool = False
    """Whether a SQL function reads variables or views of the session."""


def describe_function(spark: SparkSession, parts: Sequence[str]) -> FunctionText | None:
    """What is known of what a function does; None where the session does not know it. Runs no job."""
    name = ".".join(quote(part) for part in parts)
    if not function_exists(spark, name):
        return None
    try:
        found = spark.catalog.getFunction(name)
    except AnalysisException:
        return FunctionText()
    if found.className.startswith(_OF_SPARK):
        return FunctionText(is_of_spark=True)
    if not found.className.startswith("sqlFunction"):
        return FunctionText()
    fields = _fields(found.description)
    decisive = {key: fields[key] for key in sorted(fields) if key.startswith(_DECISIVE)}
    return FunctionText(
        body=fields.get("sqlFunction.expression"),
        text=json.dumps(decisive),
        home=() if found.isTemporary else (*([found.catalog] if found.catalog else []), *(found.namespace or [])),
        reads_session=any(fields.get(key, "[]") != "[]" for key in _OF_SESSION),
    )


def _fields(description: str | None) -> dict[str, str]:
    try:
        fields = json.loads(description or "")
    except json.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def function_exists(spark: SparkSession, name: str) -> bool:
    """Whether the session knows a function by this quoted name."""
    try:
        return bool(spark.catalog.functionExists(name))
    except AnalysisException:  # a catalog that is not there
        return False
