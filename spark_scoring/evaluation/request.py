"""What is asked of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.result import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spark_scoring.errors import Gathering

WINDOWS = ("day", "week", "month")
TASKS = get_args(Task)


@dataclass(frozen=True)
class EvaluateRequest:
    """Two tables, how they belong together, and what is to be measured."""

    table: str
    labels: str
    key: tuple[str, ...]
    label: str | None = None
    where: str | None = None
    by: tuple[str, ...] = ()
    window: str | None = None
    time: str | None = None
    task: str | None = None
    prediction: str | None = None
    probability: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def check(self, problems: Gathering) -> None:
        """Gather what is wrong with it by itself.

        Raises:
            EvaluateError: a table is not named, so that nothing else can be told.

        """
        for role, place in (("table", self.table), ("labels", self.labels)):
            if (kind := type(place).__name__) != "str":
                raise EvaluateError.not_a_name(role, kind)
        for option, value, choices in (("--window", self.window, WINDOWS), ("--task", self.task, TASKS)):
            with problems.attempt():
                check_choice(option, value, choices)


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names, of which one alone may be given as it is."""
    return (names,) if isinstance(names, str) else tuple(names)


def check_choice(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Refuse another value than the choices.

    Raises:
        EvaluateError: names them.

    """
    if value is not None and value not in choices:
        raise EvaluateError.choice(option, value, choices)
