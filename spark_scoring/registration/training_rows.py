"""A table's rows as a model is trained on them: through the casts that score it later, in types that hold a null.

Beside its features a row has a label, a weight, a group, and whether it is kept for validation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.spark_errors import spark_failure, sql_fault
from spark_scoring.engine.collected import collect_inputs
from spark_scoring.errors import Gathering, PlanError, Problem, ScoringError, near_fix
from spark_scoring.job_problems import JobError
from spark_scoring.model.categories import given_levels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import DATA_TYPES, Category, Levels, ModelType
from spark_scoring.plan.planner import Expression, Request, make_plan
from spark_scoring.plan.reasons import SEPARATOR, check_reasons
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.plan.reasons import Reason
    from spark_scoring.registration.tasks import Task

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
_INTEGERS = ("byte", "short", "integer", "long")
_FRACTIONS = ("float", "double", "decimal")
_TEXTS = ("string", "char", "varchar")
_TIMES = ("date", "timestamp", "timestamp_ntz")
_GROUP_TYPES = ("boolean", *_INTEGERS, "decimal", *_TEXTS, *_TIMES)
NUMBER_TASKS = ("regression", "ranking")
"""Tasks whose label is a number; others have classes."""
UNLABELLED = ("anomaly_detection", "clustering")
"""Tasks that need no label."""
_AS_NUMBER = {"date": "unix_date({})", "timestamp_ntz": "CAST(CAST({} AS TIMESTAMP) AS DOUBLE)"}
"""Spark type -> the expression that makes a number of it; others: a cast."""


@dataclass(frozen=True)
class TrainingRows:
    """A table's rows as an estimator takes them."""

    X: pd.DataFrame
    kept: pa.Table
    """Columns that were asked for beside the features, row by row."""


@dataclass(frozen=True)
class Examples:
    """Rows with what stands beside their features."""

    X: pd.DataFrame
    y: pd.Series[Any] | None
    weights: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    """A number for each row, the same in a group. They ascend, so that a group's rows stand together."""

    def where(self, chosen: NDArray[np.bool_]) -> Examples:
        """Some of the rows, in their order."""
        return Examples(
            self.X[chosen],
            None if self.y is None else self.y[chosen],
            None if self.weights is None else self.weights[chosen],
            None if self.groups is None else self.groups[chosen],
        )


class Beside(NamedTuple):
    """The columns that stand beside the features."""

    label: Column
    """Null where there is none."""
    fits: Column
    """Whether the label is one of the task, or null."""
    held_out: Column
    weight: Column
    group: Column


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


def columns_beside(
    df: DataFrame, task: Task, *, label: str | None, validation: str | None, weights: str | None, groups: str | None
) -> Beside:
    """The columns of SQL expressions over the table, in types that an estimator takes. Reads no row.

    The label is a double for regression and ranking; of classes it is text, or a whole number, booleans as 0 and 1.

    Raises:
        RequestError: with every expression that does not fit the table, or whose type is none of its purpose.

    """
    problems = Gathering()
    columns = [F.lit(None)] * 5
    with problems.attempt():
        columns[:2] = _label(df, task, label)
    with problems.attempt():
        columns[2] = _condition(df, validation)
    with problems.attempt():
        columns[3] = _weight(df, weights)
    with problems.attempt():
        columns[4] = _group(df, groups)
    problems.raise_all()
    return Beside(*columns)


def examples_of(
    found: TrainingRows, task: Task, *, label: str | None, weights: str | None, groups: str | None
) -> tuple[Examples, NDArray[np.bool_]]:
    """Rows that were read with the columns of a ``Beside``, and which of them are for validation.

    With groups, the rows are sorted by them, and within a group they keep their order.

    Args:
        found: the rows.
        task: what the model is for.
        label, weights, groups: the SQL expressions, for the texts of errors; None: there is none.

    Raises:
        SourceError: no row is left to train on, or a label, weight or group is null or none of its purpose in some.

    """
    labels, fits, held, weight, group = (found.kept.column(i).to_pandas() for i in range(5))
    held_out = held.to_numpy(dtype=bool)
    if held_out.all():
        raise SourceError([Problem("validation", "it holds in every row, and none is left to train on", "narrow it")])
    problems = _label_problems(task, label, labels, fits.to_numpy(dtype=bool))
    problems += _weight_problems(weights, weight, held_out)
    problems += [] if groups is None else _null_problems("groups", groups, group)
    if problems:
        raise SourceError(problems)
    examples = Examples(
        found.X,
        None if label is None else labels.rename("label"),
        None if weights is None else weight.to_numpy(dtype="float64"),
    )
    if groups is None:
        return examples, held_out
    codes = pd.factorize(group, sort=True)[0].astype("int64")
    order = np.argsort(codes, kind="stable")
    return _in_order(examples, codes, order), held_out[order]


def _in_order(examples: Examples, groups: NDArray[np.int64], order: NDArray[np.int64]) -> Examples:
    """The rows in another order, with groups."""
    return Examples(
        examples.X.iloc[order].reset_index(drop=True),
        None if examples.y is None else examples.y.iloc[order].reset_index(drop=True),
        None if examples.weights is None else examples.weights[order],
        groups[order],
    )


def _label(df: DataFrame, task: Task, sql: str | None) -> list[Column]:
    """The label as the task has it, and whether it is such a one."""
    if sql is None:
        if task not in UNLABELLED:
            raise JobError([Problem("label", f"the task {task} has one", "add label: <SQL expression>")])
        return [F.lit(None).cast("double"), F.lit(True)]  # noqa: FBT003
    type_ = spark_type(df, "label", sql).typeName()
    if task in NUMBER_TASKS:
        if type_ not in (*_INTEGERS, *_FRACTIONS):
            fix = f"label: {_AS_NUMBER.get(type_, 'CAST({} AS DOUBLE)').format(sql)}"
            raise JobError([Problem("label", f"{type_.upper()} is not a number, and the task {task} has one", fix)])
        return [F.expr(sql).cast("double"), F.lit(True)]  # noqa: FBT003
    if type_ in _TEXTS:
        return [F.expr(sql).cast("string"), F.lit(True)]  # noqa: FBT003
    if type_ in ("boolean", *_INTEGERS):
        return [F.expr(sql).cast("bigint"), F.lit(True)]  # noqa: FBT003
    if type_ in _FRACTIONS:
        whole = F.expr(f"try_cast(({sql}) AS BIGINT)")
        return [whole, F.coalesce(F.expr(f"({sql}) IS NULL") | (whole == F.expr(sql)), F.lit(False))]  # noqa: FBT003
    cause = f"{type_.upper()} is not a class label: a model predicts whole numbers or text"
    raise JobError([Problem("label", cause, f"label: CAST({sql} AS STRING)")])


def _condition(df: DataFrame, sql: str | None) -> Column:
    if sql is None:
        return F.lit(False)  # noqa: FBT003
    if spark_type(df, "validation", sql).typeName() != "boolean":
        raise JobError([Problem("validation", "it is not a condition", "write one, such as month = 9")])
    return F.coalesce(F.expr(sql), F.lit(False))  # noqa: FBT003


def _weight(df: DataFrame, sql: str | None) -> Column:
    if sql is None:
        return F.lit(None).cast("double")
    type_ = spark_type(df, "weights", sql).typeName()
    if type_ not in (*_INTEGERS, *_FRACTIONS):
        fix = f"weights: {_AS_NUMBER.get(type_, 'CAST({} AS DOUBLE)').format(sql)}"
        raise JobError([Problem("weights", f"{type_.upper()} is not a number", fix)])
    return F.expr(sql).cast("double")


def _group(df: DataFrame, sql: str | None) -> Column:
    if sql is None:
        return F.lit(None).cast("string")
    type_ = spark_type(df, "groups", sql).typeName()
    if type_ not in _GROUP_TYPES:
        cause = f"{type_.upper()} does not tell groups apart: whole numbers, text, days and times do"
        raise JobError([Problem("groups", cause, f"groups: CAST({sql} AS STRING)")])
    return F.expr(sql)


def _label_problems(task: Task, sql: str | None, labels: pd.Series[Any], fits: NDArray[np.bool_]) -> list[Problem]:
    if sql is None:
        return []
    if task in NUMBER_TASKS:
        return _null_problems("label", sql, labels, or_nan=True)
    problems = _null_problems("label", sql, labels[fits])
    if not fits.all():
        cause = f"it is not a whole number of 64 bits in {int((~fits).sum()):,} rows; a class label is one, or text"
        fix = f"label: CAST({sql} AS STRING) makes a class of each value; task: regression predicts a number"
        problems.append(Problem("label", cause, fix))
    return problems


def _null_problems(name: str, sql: str, values: pd.Series[Any], *, or_nan: bool = False) -> list[Problem]:
    lacking = int(values.isna().sum())
    if not lacking:
        return []
    condition = f"nanvl({sql}, NULL) IS NOT NULL" if or_nan else f"({sql}) IS NOT NULL"
    cause = f"it is null{' or NaN' if or_nan else ''} in {lacking:,} rows"
    return [Problem(name, cause, f"leave them out: source.where: {condition}")]


def _weight_problems(sql: str | None, values: pd.Series[Any], held_out: NDArray[np.bool_]) -> list[Problem]:
    if sql is None:
        return []
    weights = values.to_numpy(dtype="float64")
    wrong = int((~(np.isfinite(weights) & (weights >= 0))).sum())
    if wrong:
        fix = f"weights: CASE WHEN ({sql}) >= 0 AND ({sql}) < 1e300 THEN {sql} ELSE 0 END"
        return [Problem("weights", f"it is not a number >= 0 in {wrong:,} rows", fix)]
    fix = "give some of them a weight above 0"
    parts = {"that are trained on": weights[~held_out], "that validation holds in": weights[held_out]}
    return [
        Problem("weights", f"it is 0 in all rows {part}", fix)
        for part, found in parts.items()
        if len(found) and not found.any()
    ]
