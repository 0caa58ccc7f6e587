"""A table's rows as a model is trained on them: through the casts that score it later, in types that hold a null."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.spark_errors import spark_failure, sql_fault
from spark_scoring.engine.collected import collect_inputs
from spark_scoring.errors import Gathering, PlanError, Problem, ScoringError, near_fix
from spark_scoring.job_problems import JobError
from spark_scoring.model.levels import given_levels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import DATA_TYPES, Category, Levels, ModelType
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.reasons import SEPARATOR, check_reasons
from spark_scoring.plan.request import Expression, Request
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.plan.reasons import Reason

CATEGORY = "category"
"""A feature's type beside MLflow's: pandas' category, its levels those of the table, sorted."""

_DEFAULT_TYPES = {
    "boolean": "double",
    "byte": "double",
    "short": "double",
    "integer": "double",
    "long": "double",
    "float": "float",
    "double": "double",
    "decimal": "double",
    "string": "string",
    "char": "string",
    "varchar": "string",
    "date": "datetime",
    "timestamp": "datetime",
    "timestamp_ntz": "datetime",
    "binary": "binary",
}
"""Spark type -> the type that a model is trained on where none is named: one that holds a null, since any column of
a table may come to hold one."""
_LEVEL_TYPES = ("boolean", "byte", "short", "integer", "long", "float", "double", "string", "char", "varchar", "date")
_MOST_LEVELS = 100_000


@dataclass(frozen=True)
class TrainingRows:
    """A table's rows as an estimator takes them."""

    X: pd.DataFrame
    kept: pa.Table
    """Columns that were asked for beside the features, row by row."""


def training_frame(
    df: DataFrame, features: Sequence[str] | Mapping[str, str], columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """A table as the frame that a model is trained on, through the casts that will score it. Runs a job.

    Args:
        df: the table; all its rows must fit into the driver's memory.
        features: the features in order, or feature -> type: one of MLflow's data types, or ``category`` (levels are
            the table's, sorted). Without a type, one that can hold a null, by the column's Spark type: numbers and
            booleans are double (FLOAT stays float), dates and times datetime, text string.
        columns: a SQL expression per feature that is not a column of the table.

    Raises:
        RequestError: a feature that is not there or cannot be of its type, or rows that the types cannot hold.

    """
    types = features if isinstance(features, Mapping) else dict.fromkeys(features)
    return read_rows(df, types, columns or {}).X


def read_rows(
    df: DataFrame, types: Mapping[str, str | ModelType | None], columns: Mapping[str, str], keep: Sequence[Column] = ()
) -> TrainingRows:
    """As ``training_frame``, with further columns beside the features. Runs a job, and one per category feature.

    Raises:
        RequestError: with every feature that is not there or cannot be of its type; or the rows that do not fit.

    """
    inputs, problems = [], Gathering()
    expressions: dict[str, Expression] = {}
    for name, type_ in types.items():
        with problems.attempt():
            sql = columns.get(name, quote(name))
            source = spark_type(df, name, sql)
            expressions[name] = Expression(sql, source)
            inputs.append(Feature(name, _model_type(df, name, sql, source, type_)))
    problems.raise_all(PlanError)
    spec = ModelSpec("training", None, None, None, "", "", "python_function", tuple(inputs), "double")
    plan = make_plan(spec, df.schema, Request(expressions=expressions))
    with _without_values():
        found = collect_inputs(df, plan, keep)
    if not found.kept.num_rows and not found.errors:
        raise SourceError([Problem("training rows", "there are none", "check the table and the condition (where)")])
    if found.errors:
        reasons = check_reasons((feature.name, feature.reason) for feature in plan.features)
        raise PlanError(_row_problems(found.errors, len(found.errors) + found.kept.num_rows, reasons))
    return TrainingRows(found.data, found.kept)


@contextmanager
def _without_values() -> Iterator[None]:
    """What Spark raises while it reads rows may hold a row's values.

    Raises:
        SourceError: instead of that.

    """
    try:
        yield
    except ScoringError:
        raise
    except Exception as error:  # also what py4j raises
        told = spark_failure(str(error))
        cause = f"Spark failed: {told.text or type(error).__name__}"
        raise SourceError([Problem("rows to train on", cause, told.fix)]) from error


def spark_type(df: DataFrame, name: str, sql: str) -> DataType:
    """The type that Spark gives an expression over the table.

    Raises:
        SourceError: it does not fit the table; names the nearest column.
        JobError: the environment does not allow it.

    """
    if sql != quote(name):
        check_sql(df.sparkSession, name, sql, df.columns)
    try:
        return df.select(F.expr(sql).alias("v")).schema["v"].dataType
    except (AnalysisException, ParseException) as error:
        if sql == quote(name):
            near = near_fix(name, df.columns, what="columns") or "check the table"
            fix = f"{near}; or give it: {name}: {{sql: <expression>}}"
            raise SourceError([Problem(f"feature {name!r}", "the table has no such column", fix)]) from error
        raise SourceError.bad_expression(name, sql, *sql_fault(error, sql, df.columns)) from error


def _model_type(df: DataFrame, name: str, sql: str, source: DataType, type_: str | ModelType | None) -> ModelType:
    """The type that was named, else one that holds nulls; a category with the table's levels."""
    if not isinstance(type_, str | None):
        return type_
    if type_ == CATEGORY:
        return Category(_levels(df, name, sql))
    if type_ is None:
        type_ = _DEFAULT_TYPES.get(source.typeName())
        if type_ is None:
            fix = f"name it: {name}: {{sql: <expression>, type: <{', '.join(DATA_TYPES)} or category>}}"
            raise JobError([Problem(f"feature {name!r}", f"no type by default for {source.simpleString()}", fix)])
    if type_ not in DATA_TYPES:
        near = near_fix(type_, [*DATA_TYPES, CATEGORY], what="types") or ""
        raise JobError([Problem(f"feature {name!r}", f"{type_!r} is not a type", near)])
    return type_


def _levels(df: DataFrame, name: str, sql: str) -> Levels:
    """The column's distinct values, sorted, so that the levels do not depend on the order of the rows."""
    kind = spark_type(df, name, sql).typeName()
    if kind not in _LEVEL_TYPES:
        fix = f"cast it: {name}: {{sql: CAST(... AS STRING), type: category}}"
        raise JobError([Problem(f"feature {name!r}", f"{kind.upper()} values cannot be levels", fix)])
    column = F.expr(sql).alias("level")
    with _without_values():
        rows = df.select(column).where(F.col("level").isNotNull()).distinct().limit(_MOST_LEVELS + 1).collect()
    values = sorted(row["level"] for row in rows)
    if len(values) > _MOST_LEVELS:
        cause = f"more than {_MOST_LEVELS:,} levels: it looks like an identifier"
        raise SourceError([Problem(f"feature {name!r}", cause, "leave it out, or group its values")])
    if not values:
        raise SourceError([Problem(f"feature {name!r}", "it is null in every row", "leave it out")])
    return given_levels(values, "the table")


def _row_problems(errors: Sequence[str], rows: int, reasons: Mapping[str, Reason]) -> list[Problem]:
    """Per feature and reason the rows that its type cannot hold."""
    counts = Counter(part for text in errors for part in text.split(SEPARATOR))
    fix = "give it a type that holds them (double for numbers and booleans), or leave the rows out"
    return [
        Problem(f"feature {reasons[part].feature!r}", f"{n:,} of {rows:,} rows: {reasons[part].cause}", fix)
        for part, n in counts.most_common()
    ]
