"""Plain values become the levels of a category feature, whoever wrote them down: a model, a training job, a person."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.model.types import Level, Levels, LevelType

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEVEL_TYPES: tuple[tuple[type, LevelType], ...] = (
    (bool, "boolean"),  # before int, which it is, too
    (int, "long"),
    (float, "double"),
    (str, "string"),
    (dt.date, "date"),
)


def given_levels(values: Any, origin: str) -> Levels:
    """Levels that a person or a training job wrote down: a list of one type, each once, none missing.

    Raises:
        ValueError: they are not.

    """
    if not isinstance(values, list | tuple) or not values:
        msg = "levels are a list of values in the order of training"
        raise ValueError(msg)
    levels = None if any(map(is_missing, values)) else levels_of(values, origin)
    if levels is None or len(set(levels.values)) < len(levels.values):
        msg = "levels are of one type (text, whole numbers, numbers, booleans or dates), each once, none missing"
        raise ValueError(msg)
    return levels


def levels_of(values: Iterable[Any], origin: str = "the model") -> Levels | None:
    """Values as levels, in their order; None where they are not of one type that levels can have."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if any(isinstance(v, float) for v in plain) and all(type(v) in (int, float) for v in plain):
        plain = [float(v) for v in plain]
    if any(isinstance(v, dt.datetime) for v in plain):  # a date, too, to Python
        return None
    for python_type, type_ in _LEVEL_TYPES:
        if all(isinstance(v, python_type) for v in plain) and not (type_ == "long" and any(v is True for v in plain)):
            own: list[Level] = [v.isoformat() for v in plain] if type_ == "date" else plain
            return Levels(type_, tuple(own), origin)
    return None


def is_missing(value: Any) -> bool:
    """Whether a value is a null: None, NaN or NaT."""
    return value is None or value != value  # noqa: PLR0124  NaN alone differs from itself
