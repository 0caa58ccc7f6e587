"""Feature functions: SQL functions of the session, or their recorded text where the session does not know them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from pyspark.errors import ParseException

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.functions import function_exists
from spark_scoring.delta.names import split_name
from spark_scoring.model.feature_spec import FunctionDefinition
from spark_scoring.spark_versions import has_sql_functions
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.plan.lookups import FunctionCall


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
        if function_exists(spark, name):
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


def _temporary(spark: SparkSession, definition: FunctionDefinition) -> str:
    text = f"{definition.parameters}\0{definition.returns}\0{definition.body}"
    name = f"spark_scoring_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    if not function_exists(spark, name):
        spark.sql(
            f"CREATE OR REPLACE TEMPORARY FUNCTION {name}({definition.parameters})"
            f" RETURNS {definition.returns} RETURN {definition.body}"
        )
    return name
