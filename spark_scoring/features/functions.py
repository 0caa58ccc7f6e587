"""Feature functions: SQL functions of the session, or their recorded text where the session does not know them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException

from spark_scoring.delta.names import split_name
from spark_scoring.errors import FeatureTableError
from spark_scoring.model.feature_spec import FunctionDefinition
from spark_scoring.spark_versions import has_sql_functions
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.plan.lookups import FunctionCall

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


def call_sql(spark: SparkSession, call: FunctionCall) -> str:
    """The call as SQL, by names of parameters.

    Where the session does not know the function and its text was recorded in training, it is made as a temporary
    function of that text.

    Raises:
        FeatureTableError: there are no such functions in this version of Spark.

    """
    name = known_name(spark, call.function)
    if name is None and call.definition is not None:
        try:
            name = _temporary(spark, call.definition)
        except ParseException as error:
            if has_sql_functions(spark):
                raise
            raise FeatureTableError.no_sql_functions(call.function, call.name, spark.version) from error
    sql = name or ".".join(quote(part) for part in split_name(call.function))
    return f"{sql}({', '.join(f'{quote(parameter)} => {quote(column)}' for parameter, column in call.bindings)})"


def known_name(spark: SparkSession, function: str) -> str | None:
    """A function as this session addresses it, quoted: by its whole name, else without its catalog; None: unknown."""
    parts = split_name(function)
    for known in (parts, parts[1:]) if len(parts) == 3 else (parts,):  # noqa: PLR2004
        name = ".".join(quote(part) for part in known)
        if _exists(spark, name):
            return name
    return None


def recorded_definition(spark: SparkSession, function: str) -> FunctionDefinition | None:
    """The text of a SQL function, from DESCRIBE; None for functions of other kinds."""
    name = known_name(spark, function)
    if name is None:
        return None
    for row in spark.sql(f"DESCRIBE FUNCTION EXTENDED {name}").collect():
        line = str(row[0])
        if line.startswith("Usage: {"):
            fields = json.loads(line.removeprefix("Usage: "))
            texts = [fields.get(f"sqlFunction.{part}") for part in ("inputParam", "returnType", "expression")]
            if all(texts):
                return FunctionDefinition(function, *texts)
    return None


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
    if not _exists(spark, name):
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


def _exists(spark: SparkSession, name: str) -> bool:
    try:
        return bool(spark.catalog.functionExists(name))
    except AnalysisException:  # a catalog that is not there
        return False


def _temporary(spark: SparkSession, definition: FunctionDefinition) -> str:
    text = f"{definition.parameters}\0{definition.returns}\0{definition.body}"
    name = f"spark_scoring_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    if not _exists(spark, name):
        spark.sql(
            f"CREATE OR REPLACE TEMPORARY FUNCTION {name}({definition.parameters})"
            f" RETURNS {definition.returns} RETURN {definition.body}"
        )
    return name
