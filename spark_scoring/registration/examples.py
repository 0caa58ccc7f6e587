"""Rows to train on with what stands beside their features: a label, a weight, a group, and whether they validate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.errors import Gathering, Problem
from spark_scoring.job_problems import JobError
from spark_scoring.registration.training_rows import spark_type

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

    from spark_scoring.registration.tasks import Task
    from spark_scoring.registration.training_rows import TrainingRows

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
