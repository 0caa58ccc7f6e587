"""Conditions on what a comparison has measured: a name, an operator, a number."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.compare.errors import CompareError
from spark_scoring.errors import Gathering

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

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


def read_conditions(texts: Sequence[str], known: Collection[str]) -> tuple[Condition, ...]:
    """The conditions of these texts, on measures of these names.

    Raises:
        CompareError: with every text that is not a condition, or that names no measure.

    """
    problems, found = Gathering(), []
    for text in texts:
        with problems.attempt():
            found.append(_read(text, known))
    problems.raise_all(CompareError)
    return tuple(found)


def _read(text: str, known: Collection[str]) -> Condition:
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise CompareError.condition(text)
    try:
        number = float(parts["number"])
    except ValueError:
        raise CompareError.condition(text) from None
    if not math.isfinite(number):
        raise CompareError.condition(text)
    if parts["name"] not in known:
        raise CompareError.measure(text, parts["name"], known)
    return Condition(text, parts["name"], parts["operator"], number)
