"""Conditions on what an evaluation has measured, in the form of those on a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Gathering
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.measures import KNOWN
from spark_scoring.report.measures import Condition, read_conditions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from spark_scoring.evaluation.result import Task


def read(texts: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions of these texts.

    Raises:
        EvaluateError: with every text that is not a condition, or that names a measure of no task.

    """
    return read_conditions(texts, KNOWN, EvaluateError)


def checked(conditions: Sequence[Condition], task: Task, known: Collection[str]) -> tuple[Condition, ...]:
    """The conditions, all of which are on measures that this task has.

    Raises:
        EvaluateError: with every one that is not.

    """
    problems = Gathering()
    for condition in conditions:
        with problems.attempt():
            if condition.name not in known:
                raise EvaluateError.measure(condition.text, condition.name, task, known)
    problems.raise_all(EvaluateError)
    return tuple(conditions)
