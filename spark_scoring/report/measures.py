"""Measures by name, which of them tell too much of few rows, and conditions on them."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.errors import Gathering, Problem, RequestError, near_fix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

RARE = 20
"""Levels, labels and groups of fewer rows are folded together, so that a result holds no row's values."""

Measures = dict[str, float | None]
"""By name; None where one could not be measured."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"\s*(?P<name>.+?)\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<number>[^<>=!\s]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition under which a comparison, or an evaluation, is to fail."""

    text: str
    """As it was written."""
    name: str
    operator: str
    number: float

    def holds(self, measures: Mapping[str, float | None]) -> bool:
        """Whether it does. It does of a measure without a value, too: what could not be measured has not passed."""
        value = measures[self.name]
        return value is None or _OPERATORS[self.operator](value, self.number)

    def told(self, measures: Mapping[str, float | None]) -> str:
        """What is told of one that holds."""
        value = measures[self.name]
        found = "has no value, as it could not be measured" if value is None else f"is {value:.6g}"
        return f"--fail-if {self.text}: it holds; {self.name} {found}"


def rate(part: int, whole: int) -> float | None:
    """The share; None of no rows."""
    return part / whole if whole else None


def name_in(text: str) -> str | None:
    """The name of the measure in a condition; None where it is not one."""
    parts = _FORM.fullmatch(text)
    return None if parts is None else parts["name"]


def read_conditions(texts: Sequence[str], known: Collection[str], kind: type[RequestError]) -> tuple[Condition, ...]:
    """The conditions of these texts, on measures of these names.

    Raises:
        RequestError: of the kind given, with every text that is not a condition, or that names no measure.

    """
    problems, found = Gathering(), []
    for text in texts:
        with problems.attempt():
            found.append(_read(text, known))
    problems.raise_all(kind)
    return tuple(found)


def _read(text: str, known: Collection[str]) -> Condition:
    parts = _FORM.fullmatch(text)
    try:
        number = float(parts["number"]) if parts is not None else math.nan
    except ValueError:
        number = math.nan
    if parts is None or not math.isfinite(number):
        fix = "write a measure, one of < <= > >= == !=, and a number: --fail-if 'changed_rate > 0.02'"
        raise RequestError([Problem(f"--fail-if {text}", "it is not a condition", fix)])
    if parts["name"] not in known:
        fix = near_fix(parts["name"], known, what="the measures are") or "compare models that return something"
        raise RequestError([Problem(f"--fail-if {text}", f"there is no measure {parts['name']}", fix)])
    return Condition(text, parts["name"], parts["operator"], number)
