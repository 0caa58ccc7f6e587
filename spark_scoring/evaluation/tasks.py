"""What kind of predictions these are: as asked, or as types and values tell, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.errors import EvaluateError

if TYPE_CHECKING:
    from pyspark.sql import Column

    from spark_scoring.evaluation.columns import Values
    from spark_scoring.evaluation.joined import Totals
    from spark_scoring.evaluation.result import Task

_MOST_CODES = 20
"""Different whole numbers that are taken for classes."""
MOST_CLASSES = 1_000
_ESTIMATE = 1.2
"""Spark's count of distinct values is an estimate."""


def task_of(asked: str | None, values: Values, totals: Totals) -> tuple[Task, str]:
    """The task, and why it is that one.

    Raises:
        EvaluateError: values that no task has, or not the task that is asked for.

    """
    if asked is not None:
        task, why = cast("Task", asked), "as asked"
    else:
        task, why = _found(values, totals)
    if task == "probability":
        _check_probability(values, totals)
    if task == "classification":
        most = max(totals["distinct"], totals["label_distinct"])
        if most > MOST_CLASSES * _ESTIMATE:
            raise EvaluateError.many_classes(MOST_CLASSES)
    return task, why


def _found(values: Values, totals: Totals) -> tuple[Task, str]:
    if values.prediction_kind != "number":
        kinds = {"text": "texts", "flag": "flags"}
        return "classification", f"the predictions are {kinds[values.prediction_kind]}"
    if values.probability is not None:
        return "classification", "the table has probabilities, too"
    is_code = _is_flag_or_whole(values, totals) and totals["label_distinct"] <= _MOST_CODES
    if is_code and totals["whole"] and totals["distinct"] <= _MOST_CODES and _is_class(values, totals):
        return "classification", "predictions and labels are few whole numbers"
    if _is_zero_or_one(values, totals) and _is_between(totals):
        return "probability", "the predictions are numbers from 0 to 1, and the labels are 0 and 1"
    if values.label_kind == "flag":
        raise EvaluateError.undecided(values.prediction, values.label)
    return "regression", "predictions and labels are numbers"


def _is_class(values: Values, totals: Totals) -> bool:
    """Whole numbers; of a floating type, only 0 and 1: others are rather amounts that happen to be whole."""
    return values.is_whole or (totals["low"] is not None and {totals["low"], totals["high"]} <= {0.0, 1.0})


def _is_flag_or_whole(values: Values, totals: Totals) -> bool:
    return values.label_kind == "flag" or bool(totals["label_whole"])


def _is_zero_or_one(values: Values, totals: Totals) -> bool:
    if values.label_kind == "flag":
        return True
    low, high = totals["label_low"], totals["label_high"]
    return bool(totals["label_whole"]) and low is not None and low >= 0 and high <= 1


def _is_between(totals: Totals) -> bool:
    low, high = totals["low"], totals["high"]
    return low is not None and low >= 0 and high <= 1


def _check_probability(values: Values, totals: Totals) -> None:
    if totals["low"] is None:  # no row
        return
    if not _is_between(totals):
        raise EvaluateError.not_a_probability(values.prediction)
    if not _is_zero_or_one(values, totals):
        raise EvaluateError.not_zero_or_one(values.label)


def class_texts(values: Values) -> tuple[Column, Column]:
    """Prediction and label as texts that are equal where the values are: 1, 1.00 and true, where not all are flags.

    A number that is not whole is the text of the double.
    """
    kinds = values.prediction_kind, values.label_kind
    if "number" not in kinds:
        return F.col("prediction").cast("string"), F.col("label").cast("string")
    return _whole_text(F.col("prediction"), kinds[0]), _whole_text(F.col("label"), kinds[1])


def _whole_text(value: Column, kind: str) -> Column:
    if kind == "flag":
        return value.cast("int").cast("string")
    number = value.cast("double")
    is_long = (number == F.floor(number)) & (F.abs(number) < float(2**63))
    return F.when(is_long, F.when(is_long, value).cast("bigint").cast("string")).otherwise(number.cast("string"))


def class_text(values: Values, name: str) -> str:
    """A class's name, as the model or the user says it, as ``class_texts`` writes it."""
    kinds = values.prediction_kind, values.label_kind
    if kinds == ("text", "text"):
        return name
    flags = {"true": "1", "false": "0"}
    if "number" not in kinds:
        return {"1": "true", "0": "false"}.get(name.strip(), name.strip().lower())
    folded = flags.get(name.strip().lower(), name.strip())
    try:
        number = float(folded)
    except ValueError:
        return folded
    return str(int(number)) if number.is_integer() else folded
